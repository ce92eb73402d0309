"""Runs as what they are to a study: an experiment that was carried out, and a policy that plays.

A policy file that `export` wrote is a run of which only that is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from marlserve.envs.base import Policy
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.run import read_experiment
from marlserve.policies import export
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.policies.export.file import MANIFEST
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy

EXPERIMENT = "experiment"  # in what a policy file tells of its training


def experiment_of(folder: Path) -> Experiment:
    """The experiment of a run, or of a policy file.

    Raises:
        ValueError: if the folder is neither, or what says so is broken.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder; expected one of a run")
    file = "experiment.json"
    if is_policy_file(folder):
        file, told = MANIFEST, export.read(folder).training.get(EXPERIMENT)
        if not isinstance(told, dict):
            raise ValueError(f"{folder} is a policy file that does not tell its experiment")
    else:
        told = read_experiment(folder)
    try:
        return Experiment(**told)
    except TypeError as error:
        raise ValueError(f"{folder} has a broken {file}: {error}") from error


def is_policy_file(folder: Path) -> bool:
    return (Path(folder) / MANIFEST).is_file()


def run_of(folder: Path) -> Path | None:
    """The folder of the run that this is, or is a checkpoint of; None if there is none.

    A policy file is one if it tells its experiment.
    """
    folder = Path(folder)
    if is_policy_file(folder):
        return folder if EXPERIMENT in export.read(folder).training else None
    checkpoint = folder.name in ("best", "checkpoint")  # unless it is a run of that name
    for run in (folder, *([folder.parent] if checkpoint else [])):
        if (run / "experiment.json").exists():
            return run
    return None


def runs_below(folder: Path, problem: str) -> list[Path]:
    """The runs on a problem in or below a folder, and the policy files that are in no run; those
    without a checkpoint are named.

    Raises:
        ValueError: if there is none.
    """
    found = []
    for file in sorted(Path(folder).rglob(MANIFEST)):
        in_run = any((parent / "experiment.json").exists() for parent in file.parents)
        if not in_run and experiment_of(file.parent).problem == problem:
            found.append(file.parent)
    for file in sorted(Path(folder).rglob("experiment.json")):
        if read_experiment(file.parent).get("problem") != problem:
            continue
        if (file.parent / "checkpoint").is_dir():
            found.append(file.parent)
        else:
            print(f"{file.parent} has no checkpoint yet: it is not played")
    if not found:
        raise ValueError(f"there is no run on {problem} in {folder}: train one first")
    return found


def learned(
    folder: Path,
    problem: Any,
    own: Sequence[str] = (),
    which: str | None = None,
    standard: str | None = None,
    system: str = "",
) -> Contestant:
    """The policy of a run, of any checkpoint of RLlib, or a policy file.

    Args:
        folder: of one of these.
        problem: the Config that is played.
        own: fields of it that the policy has as it was trained with.
        which: of a run's checkpoints, "best" or "final"; it becomes part of the policy's name.
        standard: the same, where nothing is asked for; None: the best one if there is one.
        system: see `Contestant`.

    Raises:
        ValueError: for a broken or missing checkpoint or file, and for `which` of a file.
    """
    played = which or standard
    if is_policy_file(folder):
        if which is not None:
            raise ValueError(f"checkpoint is {which!r}, but {folder} is a policy file: it is one")
        policy: Callable[[Any], Policy] = partial(_from_file, export.read(folder))
    else:
        CheckpointPolicy(folder, played)  # a broken one raises before anything is played
        policy = partial(_from_checkpoint, folder, played)
    name, seed, config, trained = str(folder), None, problem, None
    if (run := run_of(folder)) is not None:
        trained = experiment_of(run)
        known = trained.env_config
        config = replace(problem, **{x: known[x] for x in own if x in known})
        if run == folder:
            name, seed = trained.name if which is None else f"{trained.name},{which}", trained.seed

    return Contestant(
        name,
        policy,
        config,
        training_seed=seed,
        system=system,
        folder=folder,
        experiment=trained,
    )


def _from_checkpoint(folder: Path, which: str | None, copies: Any) -> Policy:
    shape = copies.observation_space.shape
    return CheckpointPolicy(folder, which, shape[0] if len(shape) == 2 else None)


def _from_file(file: PolicyFile, copies: Any) -> Policy:
    return NumpyPolicy(file)


def check_names(contestants: Sequence[Contestant]) -> None:
    """Two runs of one name and seed would be taken for one.

    Raises:
        ValueError: if there are two.
    """
    met: dict[tuple[str, int | None], Path | None] = {}
    for x in contestants:
        key = (x.name, x.training_seed)
        if key in met:
            raise ValueError(
                f"{met[key]} and {x.folder} are both called {x.name}, seed {x.training_seed}: "
                "evaluate one of them"
            )
        met[key] = x.folder
