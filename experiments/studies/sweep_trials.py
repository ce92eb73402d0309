"""The trials of a `sweep`: RLlib's algorithms as Ray Tune's trainables, one CPU for each."""

import contextlib
import logging
import math
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from marlserve import envs
from marlserve.experiments.harness.evaluate import play
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.validation import FIRST_VALIDATION_SEED
from marlserve.experiments.studies.sweep_plan import (
    FAILED,
    FINISHED,
    STOPPED,
    Sweep,
    width_settings,
)
from marlserve.policies import session
from marlserve.policies.checkpoint import CheckpointPolicy

ROUNDS, REDUCTION = 9, 3  # trials are judged after 1 and 3 of the rounds
_GREEDY = "greedy"
_STEPS = f"{ENV_RUNNER_RESULTS}/{NUM_ENV_STEPS_SAMPLED_LIFETIME}"  # as Tune writes a nested key
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard of each trial
    "RAY_AIR_NEW_OUTPUT": "0",  # which prints a header, however quiet it is told to be
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths of traces are relative to where the command runs
}


def config_of(asked: Sweep) -> AlgorithmConfig:
    """The algorithm's config without what is searched for.

    Raises:
        ValueError: if the algorithm refuses the settings.
    """
    session.quiet()
    for width in asked.widths:
        config = asked.experiment.config()
        config.training(lr=asked.lr[0], **width_settings(config, width)).validate()
    return asked.experiment.config()


def run_trials(asked: Sweep, config: AlgorithmConfig, folder: Path, jobs: int) -> pd.DataFrame:
    """Do the trials, or go on with them: one row each.

    Raises:
        ChildProcessError: if all trials failed.
        KeyboardInterrupt: with the state saved, if interrupted by SIGINT.
    """
    session.start(num_cpus=jobs)
    folder, space = folder.resolve(), _space(asked, config)
    with _quietly():
        if tune.Tuner.can_restore(str(folder)):
            tuner = tune.Tuner.restore(str(folder), config.algo_class, param_space=space)
        else:
            tuner = _tuner(asked, config.algo_class, space, folder, jobs)
        results = tuner.fit()
    done = [result for result in results if result.error or _is_done(result.metrics)]
    if len(done) < asked.samples:
        print(
            f"stopped after {len(done)} of {asked.samples} trials; the same command goes on "
            "from there"
        )
        raise KeyboardInterrupt
    if len(results.errors) == len(done):
        raise ChildProcessError(f"all {len(done)} trials failed: {_reason(results.errors[0])}")
    return pd.DataFrame([_row(asked, result) for result in done])


def _row(asked: Sweep, result: tune.Result) -> dict[str, Any]:
    """A row of trials.csv."""
    metrics, metric = result.metrics or {}, asked.metric
    return {
        "lr": result.config["lr"],
        "width": _width(result.config),
        "env_steps": _steps(metrics),
        "seconds": round(metrics.get("time_total_s", 0.0), 1),
        metric: metrics.get(_GREEDY, {}).get(metric, math.nan),
        "state": FAILED if result.error else _state(asked, metrics),
    }


def _is_done(metrics: dict[str, Any] | None) -> bool:
    """Whether a trial came to its end; one that was interrupted did not."""
    return bool((metrics or {}).get("done"))


def _steps(metrics: dict[str, Any]) -> int:
    return int(metrics.get(ENV_RUNNER_RESULTS, {}).get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))


def _state(asked: Sweep, metrics: dict[str, Any]) -> str:
    return FINISHED if _steps(metrics) >= asked.experiment.env_steps else STOPPED


def _width(config: dict[str, Any]) -> int:
    return config["hidden_size"] if "hidden_size" in config else config["hidden_sizes"][0]


def _reason(error: object) -> str:
    """The last line of a traceback."""
    return str(error).strip().splitlines()[-1].strip()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Tune's settings for as long as it runs; it leaves its handler of SIGINT behind."""
    logger = logging.getLogger("ray.tune")
    level, before = logger.level, {name: os.environ.get(name) for name in _ENVIRONMENT}
    usual = signal.getsignal(signal.SIGINT)
    logger.setLevel(logging.CRITICAL)  # errors of trials are told by `_Report`
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, usual)


def _space(asked: Sweep, config: AlgorithmConfig) -> AlgorithmConfig:
    """The config with what Tune draws."""
    widths = width_settings(config, tune.choice(list(asked.widths)))
    count = len(widths.get("hidden_sizes", ()))
    if len(widths) == 2:  # one draw for both
        widths["hidden_sizes"] = tune.sample_from(lambda spec: [spec.config.hidden_size] * count)
    elif count:
        widths["hidden_sizes"] = tune.choice([[width] * count for width in asked.widths])
    config.training(lr=tune.loguniform(*asked.lr), **widths)
    config.reporting(
        min_sample_timesteps_per_iteration=-(-asked.experiment.env_steps // ROUNDS),
        min_time_s_per_iteration=0,
    )
    return config.callbacks(on_train_result=_Greedy(asked.experiment))


def _tuner(
    asked: Sweep, algorithm: type, space: AlgorithmConfig, folder: Path, jobs: int
) -> tune.Tuner:
    steps = asked.experiment.env_steps
    return tune.Tuner(
        algorithm,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=f"{_GREEDY}/{asked.metric}",
            mode="max" if asked.larger_is_better else "min",
            num_samples=asked.samples,
            search_alg=BasicVariantGenerator(
                max_concurrent=jobs, random_state=asked.experiment.seed
            ),
            scheduler=AsyncHyperBandScheduler(
                time_attr=_STEPS,
                max_t=steps,
                grace_period=-(-steps // ROUNDS),
                reduction_factor=REDUCTION,
            ),
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1),
            callbacks=[_Report(asked)],
        ),
    )


class _Greedy:
    """Adds the metrics of greedy episodes to an iteration's result."""

    def __init__(self, experiment: Experiment):
        self._experiment = experiment

    def __call__(self, *, algorithm, result: dict[str, Any], **kwargs) -> None:
        experiment = self._experiment
        seeds = [FIRST_VALIDATION_SEED + i for i in range(experiment.evaluation_episodes)]
        make = envs.module(experiment.problem).Problem
        problem = make(experiment.problem_config(evaluation=True), len(seeds))
        with TemporaryDirectory() as folder:
            state = algorithm.get_state(not_components=["replay"])
            algorithm.save_to_path(str(Path(folder).resolve()), state=state)
            with torch.random.fork_rng(devices=[]):  # a module that is made draws weights
                episodes = play(problem, CheckpointPolicy(folder), seeds)
        problem.close()
        result[_GREEDY] = {name: float(x) for name, x in episodes.mean().items()}


class _Report(tune.Callback):
    """A progress bar, and a line for every trial that is done."""

    _bar: Progress  # from `setup` on

    def __init__(self, asked: Sweep):
        self._asked = asked

    def setup(self, **info) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:3.0f} %  {task.fields[done]} trials done"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        console = Console(highlight=False, soft_wrap=True)
        self._bar = Progress(*columns, console=console, speed_estimate_period=600.0)
        self._task = self._bar.add_task(self._asked.experiment.name, total=1.0, done=0)
        self._bar.start()

    def on_step_end(self, iteration, trials, **info) -> None:
        budget = self._asked.experiment.env_steps
        done = [trial.status == Trial.ERROR or _is_done(trial.last_result) for trial in trials]
        steps = [min(_steps(trial.last_result or {}), budget) for trial in trials]
        parts = [1.0 if x else n / budget for x, n in zip(done, steps, strict=True)]
        completed = sum(parts) / self._asked.samples
        self._bar.update(self._task, completed=completed, done=sum(done))

    def on_trial_complete(self, iteration, trials, trial, **info) -> None:
        metrics, metric = trial.last_result, self._asked.metric
        text = f"{metric} {metrics[_GREEDY][metric]:.4g} after {_steps(metrics):,} env-steps"
        self._say(trials, trial, f"{text}, {_state(self._asked, metrics)}")
        if trial.checkpoint is not None:  # nobody goes on from it, and replays are large
            shutil.rmtree(trial.checkpoint.path)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        self._say(trials, trial, f"failed: {_reason(Path(trial.error_file).read_text())}")

    def on_experiment_end(self, trials, **info) -> None:
        self.on_step_end(0, trials)
        self._bar.stop()

    def _say(self, trials: list[Trial], trial: Trial, text: str) -> None:
        config = trial.config
        self._bar.console.print(
            f"trial {trials.index(trial) + 1} of {self._asked.samples}: lr={config['lr']:.3g} "
            f"width={_width(config)}: {text}"
        )
