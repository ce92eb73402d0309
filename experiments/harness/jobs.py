"""Trainings, one after the other, or `jobs` of them side by side in processes of their own.

Those stop with a checkpoint when the process that began them is told to stop, and when it is gone.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.run import Run, read_progress
from marlserve.experiments.harness.training import train
from marlserve.policies import session

_POLL_S = 1.0


def train_all(
    experiments: Sequence[Experiment],
    out: Path,
    jobs: int = 1,
    *,
    overwrite: bool = False,
    checkpoint_every_s: float = 60.0,
    log: Sequence[str] = ("tensorboard",),
    finished: Callable[[Path], object] = lambda folder: None,
) -> list[Path]:
    """Train every experiment that is not finished; their folders.

    Args:
        experiments: what to train.
        out: where all runs are.
        jobs: how many side by side.
        overwrite: begin all of them anew.
        checkpoint_every_s: seconds between two checkpoints of each.
        log: where else rows go: see `loggers`.
        finished: told the folder of each run that is finished, when it is.

    Raises:
        ValueError: for less than one job, and before any training if a folder is not as it
            should be.
        ChildProcessError: if a training in another process failed; it says itself why. Those under
            way are finished, no other is begun.
        KeyboardInterrupt: after checkpoints, if interrupted by SIGINT, SIGTERM or SIGHUP.
    """
    check(experiments, jobs)
    runs = [Run(experiment, out) for experiment in experiments]
    done = [0 if overwrite else run.counters()["env_steps"] for run in runs]
    waiting = []
    for run, steps in zip(runs, done, strict=True):
        if steps < run.experiment.env_steps:
            waiting.append(run)
        else:
            print(f"{run.folder} is finished: not trained again")
            finished(run.folder)
    how: dict[str, Any] = {
        "overwrite": overwrite,
        "checkpoint_every_s": checkpoint_every_s,
        "log": tuple(log),
    }
    if jobs == 1 or len(waiting) == 1:
        for run in waiting:
            finished(train(run.experiment, out, **how))
    elif waiting:
        _side_by_side(waiting, out, jobs, how, finished)
    return [run.folder for run in runs]


def check(experiments: Sequence[Experiment], jobs: int) -> None:
    """See that trainings can begin, before anything is made for them.

    Raises:
        ValueError: for less than one job, and for settings that an algorithm refuses.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    session.quiet()
    for experiment in experiments:
        experiment.config().validate()


def _side_by_side(
    waiting: list[Run], out: Path, jobs: int, how: dict[str, Any], finished: Callable
) -> None:
    context, queue = get_context("spawn"), list(waiting)
    active: dict = {}  # process: its run
    failed: list[Path] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %  return {task.fields[value]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with _interrupted_by_all(), Progress(*columns, speed_estimate_period=300.0) as bar:
        tasks = {
            run: bar.add_task(
                f"{run.experiment.name}, seed {run.experiment.seed}",
                total=run.experiment.env_steps,
                value="-",
                start=False,
            )
            for run in waiting
        }
        try:
            while active or (queue and not failed):
                while queue and len(active) < jobs and not failed:
                    run = queue.pop(0)
                    process = context.Process(target=_train_here, args=(run.experiment, out, how))
                    process.start()
                    active[process] = run
                    bar.start_task(tasks[run])
                time.sleep(_POLL_S)
                for process, run in list(active.items()):
                    _report(bar, tasks[run], run)
                    if process.exitcode is not None:
                        del active[process]
                        if process.exitcode:
                            failed.append(run.folder)
                        else:
                            finished(run.folder)
        except KeyboardInterrupt:
            bar.console.print("stopping with checkpoints; the same command goes on from there")
            for process in active:
                os.kill(process.pid, signal.SIGINT)
            for process in active:
                process.join()
            raise
    if failed:
        raise ChildProcessError(
            f"training failed in {', '.join(map(str, failed))}; why is said above"
        )


@contextmanager
def _interrupted_by_all() -> Iterator[None]:
    """Make SIGTERM and SIGHUP do what Ctrl-C does, unless they are ignored."""
    usual = {}

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows none
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                usual[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, before in usual.items():
            signal.signal(number, before)


def _report(bar: Progress, task, run: Run) -> None:
    rows = read_progress(run.folder)
    if len(rows):
        returns = rows["episode_return_mean"].dropna()
        value = f"{returns.iloc[-1]:.4g}" if len(returns) else "-"
        bar.update(task, completed=rows["env_steps"].iloc[-1], value=value)


def _train_here(experiment: Experiment, out: Path, how: dict[str, Any]) -> None:
    """What a process of `_side_by_side` does."""
    os.setpgrp()  # the terminal's Ctrl-C reaches the parent, which passes it on once
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        train(experiment, out, **how, show=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, session.Unavailable) as error:
        print(f"{experiment.folder}: {error}", file=sys.stderr)
        sys.exit(2)


def _stop_with_parent() -> None:
    """Wait for the parent's end, however it comes, and stop as after Ctrl-C."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)
