"""The policy of a finished run, saved at another place: experiment.json and checkpoint/.

The folder can be played, evaluated and restored as the run itself; it has no history. One of the
same experiment that is there already is replaced as a whole.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.run import read_experiment

_CONTENT = {"experiment.json", "checkpoint"}


def check(path: Path, run: Path, experiment: Experiment) -> None:
    """Whether the policy of a run can be saved at a path; to be called before its training.

    Raises:
        ValueError: if there is something else at the path, such as the policy of another
            experiment, or it and the run's folder overlap.
    """
    path, run = Path(path).resolve(), Path(run).resolve()
    if path.is_relative_to(run) or run.is_relative_to(path):
        raise ValueError(f"save_path is {path}, which overlaps the run's own folder, {run}")
    if path.exists() and not path.is_dir():
        raise ValueError(f"save_path is {path}, which is a file; expected a folder, or nothing yet")
    if path.is_dir() and (found := {x.name for x in path.iterdir()}) not in (set(), _CONTENT):
        raise ValueError(
            f"save_path is {path}, which holds {sorted(found)[:3]}; only a folder of nothing but "
            f"{sorted(_CONTENT)} is replaced"
        )
    if path.is_dir() and found and read_experiment(path) != asdict(experiment):
        raise ValueError(
            f"save_path is {path}, which holds the policy of another experiment; move it away"
        )


def save(run: Path, path: Path) -> None:
    """Copy the policy of a run to a path. If that fails, what was there before stays.

    Raises:
        ValueError: see `check`.
    """
    check(path, run, Experiment(**read_experiment(run)))
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        shutil.copytree(Path(run, "checkpoint"), new / "checkpoint")
        shutil.copy2(Path(run, "experiment.json"), new)
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
