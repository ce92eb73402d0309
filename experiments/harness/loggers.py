"""Where the rows of a training go besides progress.jsonl: `train --log tensorboard wandb`.

    tensorboard   events.out.*, in the run's folder: `tensorboard --logdir runs`
    csv           progress.csv, in the run's folder, when the training ends or is stopped
    wandb         a run of the project marlserve on Weights & Biases; with WANDB_MODE=offline it is
                  below the run's folder, for `wandb sync`
    mlflow        a run of the experiment marlserve/<problem>/<preset>, where
                  MLFLOW_TRACKING_URI says

A run that goes on is the same one there: loggers.json has the names that services gave it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from importlib import import_module
from typing import Any

import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from marlserve.experiments.harness.run import Run, read_progress, write

Row = dict[str, Any]
Log = Callable[[Row], object]


@contextmanager
def tensorboard(run: Run, env_steps: int) -> Iterator[Log]:
    later = env_steps + 1 if env_steps else None  # what is there from then on is played again
    with closing(SummaryWriter(run.folder, purge_step=later)) as events:

        def log(row: Row) -> None:
            for name, value in _known(row).items():
                events.add_scalar(name, value, row["env_steps"])

        yield log


@contextmanager
def csv(run: Run, env_steps: int) -> Iterator[Log]:
    yield lambda row: None
    write(run.folder / "progress.csv", read_progress(run.folder).to_csv(index=False))


@contextmanager
def wandb(run: Run, env_steps: int) -> Iterator[Log]:
    experiment = run.experiment
    with _library("wandb").init(
        project="marlserve",
        group=f"{experiment.problem}/{experiment.preset}",
        name=f"{experiment.name}/seed_{experiment.seed}",
        config=asdict(experiment),
        dir=run.folder,
        id=_name_of(run, "wandb"),
        resume="allow",
    ) as logged:
        _keep_name(run, "wandb", logged.id)
        logged.define_metric("*", step_metric="env_steps")
        yield lambda row: logged.log(_known(row))


@contextmanager
def mlflow(run: Run, env_steps: int) -> Iterator[Log]:
    experiment, there, service = run.experiment, _name_of(run, "mlflow"), _library("mlflow")
    service.set_experiment(f"marlserve/{experiment.problem}/{experiment.preset}")
    name = f"{experiment.name}/seed_{experiment.seed}"
    with service.start_run(run_id=there, run_name=name) as logged:
        _keep_name(run, "mlflow", logged.info.run_id)
        if there is None:
            service.log_params(pd.json_normalize(asdict(experiment)).iloc[0].to_dict())
        yield lambda row: service.log_metrics(_known(row), step=row["env_steps"])


LOGGERS = {x.__name__: x for x in (tensorboard, csv, wandb, mlflow)}
SERVICES = ("wandb", "mlflow")  # of a library, and an extra, of that name


@contextmanager
def logging_to(names: Sequence[str], run: Run, env_steps: int) -> Iterator[Log]:
    """A function that takes the rows of a run from so many env-steps on to all of these loggers."""
    with ExitStack() as stack:
        logs = [stack.enter_context(LOGGERS[name](run, env_steps)) for name in dict.fromkeys(names)]
        yield lambda row: [log(row) for log in logs]


def check(names: Sequence[str]) -> None:
    """See that all of these loggers are there.

    Raises:
        ValueError: if one is unknown, or its library is not installed.
    """
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"log has {name!r}; allowed are {list(LOGGERS)}")
        if name in SERVICES:
            _library(name)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f'log has {name!r}: pip install "marlserve[{name}]"') from error


def _known(row: Row) -> Row:
    """Without what is not known yet."""
    return {name: value for name, value in row.items() if value is not None}


def _name_of(run: Run, service: str) -> str | None:
    """What a service calls the run; None if it does not know it."""
    file = run.folder / "loggers.json"
    return json.loads(file.read_text()).get(service) if file.exists() else None


def _keep_name(run: Run, service: str, name: str) -> None:
    file = run.folder / "loggers.json"
    there = json.loads(file.read_text()) if file.exists() else {}
    write(file, json.dumps(there | {service: name}, indent=1) + "\n")
