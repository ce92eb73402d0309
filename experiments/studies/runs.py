"""Runs as what they are to a study: an experiment that was carried out, and a policy that plays."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.run import read_experiment
from marlserve.policies.checkpoint import CheckpointPolicy


def experiment_of(folder: Path) -> Experiment:
    """The experiment of a run.

    Raises:
        ValueError: if the folder is no run, or its experiment.json is broken.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder; expected one of a run")
    try:
        return Experiment(**read_experiment(folder))
    except TypeError as error:
        raise ValueError(f"{folder} has a broken experiment.json: {error}") from error


def run_of(folder: Path) -> Path | None:
    """The folder of the run that this is, or is a checkpoint of; None if there is none."""
    folder = Path(folder)
    checkpoint = folder.name in ("best", "checkpoint")  # unless it is a run of that name
    for run in (folder, *([folder.parent] if checkpoint else [])):
        if (run / "experiment.json").exists():
            return run
    return None


def runs_below(folder: Path, problem: str) -> list[Path]:
    """The runs on a problem in or below a folder; those without a checkpoint are named.

    Raises:
        ValueError: if there is none.
    """
    found = []
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
    """The policy of a run, or of any checkpoint of RLlib.

    Args:
        folder: of the run, or of the checkpoint.
        problem: the Config that is played.
        own: fields of it that the policy has as it was trained with.
        which: of a run's checkpoints, "best" or "final"; it becomes part of the policy's name.
        standard: the same, where nothing is asked for; None: the best one if there is one.
        system: see `Contestant`.

    Raises:
        ValueError: for a broken or missing checkpoint.
    """
    played = which or standard
    CheckpointPolicy(folder, played)  # a broken one raises before anything is played
    name, seed, config, trained = str(folder), None, problem, None
    if (run := run_of(folder)) is not None:
        trained = experiment_of(run)
        known = trained.env_config
        config = replace(problem, **{x: known[x] for x in own if x in known})
        if run == folder:
            name, seed = trained.name if which is None else f"{trained.name},{which}", trained.seed

    def policy(copies: Any) -> CheckpointPolicy:
        shape = copies.observation_space.shape
        return CheckpointPolicy(folder, played, shape[0] if len(shape) == 2 else None)

    return Contestant(
        name,
        policy,
        config,
        training_seed=seed,
        system=system,
        folder=folder,
        experiment=trained,
    )


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
