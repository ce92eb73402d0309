"""How an experiment is carried out: iterations with a progress bar, and checkpoints.

    folder = train(Experiment("load_balance", "qmix", env_steps=100_000))

Ctrl-C ends it after the iteration in progress with a checkpoint, and the same call goes on from
there; a finished experiment is not trained again.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)
from ray.rllib.utils.schedules.scheduler import Scheduler
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from marlserve.experiments.harness.experiment import RUNS, Experiment
from marlserve.experiments.harness.loggers import logging_to
from marlserve.experiments.harness.run import RETURN, Run
from marlserve.experiments.harness.validation import Validation
from marlserve.policies.sampling.reporting import PROBLEM


def train(
    experiment: Experiment,
    out: Path = RUNS,
    *,
    overwrite: bool = False,
    checkpoint_every_s: float = 60.0,
    log: Sequence[str] = ("tensorboard",),
    show: bool = True,
) -> Path:
    """Train, or go on training, and return the folder of the run.

    Args:
        out: where all runs are.
        overwrite: begin anew, whatever is there.
        checkpoint_every_s: seconds between two checkpoints.
        log: where else rows go: see `loggers`.
        show: print a progress bar and what is being done.

    Raises:
        ValueError: before anything is changed, if the folder holds another experiment or a
            broken checkpoint, if another process writes to it, or if the algorithm refuses its
            settings.
        KeyboardInterrupt: after a checkpoint, if interrupted by SIGINT, SIGTERM or SIGHUP.
    """
    run, console = Run(experiment, out), Console(quiet=not show, highlight=False, soft_wrap=True)
    with run.writing():
        done = 0 if overwrite else run.counters()["env_steps"]
        if done >= experiment.env_steps:
            console.print(f"{run.folder} is finished: {done:,} env-steps; not trained again")
        else:
            _train(run, done, console, checkpoint_every_s, log)
    return run.folder


def _train(
    run: Run, done: int, console: Console, checkpoint_every_s: float, log: Sequence[str]
) -> None:
    config = run.experiment.config()
    console.print(
        f"{run.folder}: {'starting' if not done else f'going on from {done:,} env-steps'}"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small networks are fastest so, and a run repeats on other machines
    algorithm = config.build_algo()
    try:
        if done:
            run.restore(algorithm)
        else:
            run.begin()
        _iterate(run, algorithm, console, checkpoint_every_s, log)
    finally:
        algorithm.stop()
        torch.set_num_threads(threads)
        with contextlib.suppress(OSError):  # RLlib makes a folder for logs that nobody writes
            Path(algorithm.logdir).rmdir()


def _iterate(
    run: Run, algorithm, console: Console, checkpoint_every_s: float, log: Sequence[str]
) -> None:
    counters, budget = run.counters(), run.experiment.env_steps
    row, validation = {}, Validation(run)
    clock = _Clock(counters)
    saved_s = time.monotonic()
    logs, bar = logging_to(log, run, counters["env_steps"]), _progress(console, run, counters)
    with logs as add, bar as report, _stop() as stop:
        while counters["env_steps"] < budget and not stop.is_set():
            row = _row(algorithm.train(), algorithm.config, clock)
            if validation.is_due(counters["env_steps"], row["env_steps"]):
                row |= validation.evaluate(algorithm, {name: row[name] for name in counters})
            counters = {name: row[name] for name in counters}
            run.add(row)
            add(row)
            report(row)
            if time.monotonic() - saved_s >= checkpoint_every_s and counters["env_steps"] < budget:
                run.save(algorithm, counters, final=False)
                saved_s = time.monotonic()
        finished = counters["env_steps"] >= budget
        if row:
            run.save(algorithm, counters, final=finished)
    if not finished:
        console.print(
            f"stopped at {counters['env_steps']:,} of {budget:,} env-steps; the checkpoint is "
            f"{run.checkpoint}; the same command goes on from there"
        )
        raise KeyboardInterrupt


class _Clock:
    """Seconds of a run, those before its last checkpoint included."""

    def __init__(self, counters: dict[str, float]):
        self._wall = time.monotonic() - counters["seconds"]
        self._cpu = time.process_time() - counters["cpu_seconds"]

    def read(self) -> dict[str, float]:
        return {
            "seconds": round(time.monotonic() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
        }


def _row(result: dict, config, clock: _Clock) -> dict[str, Any]:
    """A row of progress.jsonl; None for what is not known yet."""
    sampled = result[ENV_RUNNER_RESULTS]
    steps = int(sampled[NUM_ENV_STEPS_SAMPLED_LIFETIME])
    losses = [
        x["total_loss"] for x in result.get(LEARNER_RESULTS, {}).values() if "total_loss" in x
    ]
    values = {
        EPISODE_RETURN_MEAN: sampled.get(EPISODE_RETURN_MEAN, math.nan),
        **dict(sorted(sampled.get(PROBLEM, {}).items())),
        **{f"multiplier_{name}": x for name, x in result.get("multiplier", {}).items()},
        "loss": sum(losses) if losses else math.nan,
    }
    if hasattr(config, "epsilon"):
        schedule = Scheduler(fixed_value_or_schedule=config.epsilon, framework="torch")
        values["epsilon"] = schedule.update(timestep=steps)
    known = {name: float(x) if math.isfinite(x) else None for name, x in values.items()}
    return {"env_steps": steps, **clock.read(), **known}


@contextlib.contextmanager
def _progress(console: Console, run: Run, counters: dict[str, Any]) -> Iterator[Callable]:
    """A progress bar; gives a function that takes the rows."""
    begin_s, before = time.monotonic(), counters["env_steps"]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:3.0f} %  {task.fields[speed]:,.0f} env-steps/s"),
        TextColumn("return {task.fields[value]}{task.fields[greedy]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    name = f"{run.experiment.name}, seed {run.experiment.seed}"
    with Progress(*columns, console=console, speed_estimate_period=300.0) as bar:
        task = bar.add_task(
            name,
            total=run.experiment.env_steps,
            completed=before,
            speed=0.0,
            value="-",
            greedy="",
        )

        def report(row: dict[str, Any]) -> None:
            speed = (row["env_steps"] - before) / (time.monotonic() - begin_s)
            shown: dict[str, Any] = {"speed": speed}
            if row[EPISODE_RETURN_MEAN] is not None:
                shown["value"] = f"{row[EPISODE_RETURN_MEAN]:.4g}"
            if row.get(RETURN) is not None:
                shown["greedy"] = f", greedy {row[RETURN]:.4g}"
            bar.update(task, completed=min(row["env_steps"], run.experiment.env_steps), **shown)

        yield report


@contextlib.contextmanager
def _stop() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM or SIGHUP sets, once; the second one has its usual effect.

    An exception in the middle of an update would leave no state worth saving. A SIGHUP that is
    ignored, as under nohup, stays so.
    """
    event = threading.Event()
    usual: dict[signal.Signals, Any] = {}

    def restore() -> None:
        while usual:
            signal.signal(*usual.popitem())

    def request(number, frame) -> None:
        event.set()
        restore()

    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows none
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                usual[number] = signal.signal(number, request)
    try:
        yield event
    finally:
        restore()
