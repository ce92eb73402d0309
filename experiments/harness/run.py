"""A run is the folder that an experiment leaves behind.

    experiment.json   the experiment
    progress.jsonl    one row per iteration: env_steps, seconds, cpu_seconds (of the training
                      process), episode_return_mean (RLlib's: summed over agents), the problem's
                      metrics, loss, epsilon; some rows have evaluation_return and the problem's
                      metrics with evaluation_ before them: see `validation`
    evaluation.jsonl  the same of evaluated rows alone, without that prefix
    checkpoint/       the algorithm, as RLlib saves it, and counters.json, how far it had come
    best/             the same where evaluation_return was highest, if any was evaluated
    summary.md        some experiments write one when the run ends: see `summary`
    events.out.*, progress.csv, loggers.json    see `loggers`

Files are written beside the old ones and then take their place, so that whoever stops the process,
and when, what is there is whole. If that happens between the two renames that exchange a
checkpoint, the old one is found under another name and put back. A folder has one writer at a time:
see `Run.writing`.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.locks import one_writer

_PREFIX = "evaluation_"
RETURN = f"{_PREFIX}return"
_START = {"env_steps": 0, "seconds": 0.0, "cpu_seconds": 0.0}
_CHECKPOINTS = ("checkpoint", "best")
_OWN_FILES = (
    "experiment.json",
    "progress.jsonl",
    "evaluation.jsonl",
    "summary.md",
    "events.out.*",
    "progress.csv",
    "loggers.json",
    *(f"{name}{end}" for name in _CHECKPOINTS for end in ("", ".new", ".old")),
)


class Run:
    """The folder of one experiment, below `out`."""

    def __init__(self, experiment: Experiment, out: Path):
        self.experiment = experiment
        self.folder = Path(out) / experiment.folder
        self.checkpoint = self.folder / "checkpoint"
        self.best = self.folder / "best"
        self._progress = self.folder / "progress.jsonl"
        self._evaluations = self.folder / "evaluation.jsonl"

    def counters(self) -> dict[str, Any]:
        """How far the checkpoint had come: env_steps, seconds, cpu_seconds; zeros without one.

        Raises:
            ValueError: if the folder holds another experiment, or something else altogether.
        """
        if not self.folder.exists() or not any(self.folder.iterdir()):
            return dict(_START)
        standard = Experiment(self.experiment.problem, self.experiment.algorithm)
        stored = asdict(standard) | read_experiment(self.folder)  # old files lack new fields
        for name, there, asked in differences(stored, asdict(self.experiment)):
            raise ValueError(
                f"{self.folder} holds another experiment: {name} is {there!r} there, "
                f"{asked!r} is asked for; choose another folder, or overwrite it"
            )
        for checkpoint in (self.checkpoint, _beside(self.checkpoint, "old")):
            if checkpoint.exists():
                return self._counters(checkpoint, *_START)
        return dict(_START)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one writer of the folder, and put back a checkpoint that was being exchanged.

        Raises:
            ValueError: if another process or thread is; it says which.
        """
        with one_writer(self.folder):
            for folder in (self.checkpoint, self.best):
                if _beside(folder, "old").exists() and not folder.exists():
                    _beside(folder, "old").rename(folder)
            yield

    def best_return(self) -> float:
        """The evaluation_return of best/; minus infinity without one.

        Raises:
            ValueError: if it is broken.
        """
        if not self.best.exists():
            return -math.inf
        return self._counters(self.best, RETURN)[RETURN]

    def restore(self, algorithm) -> None:
        """Put the checkpoint's state into an algorithm, and take later rows of progress away.

        Raises:
            ValueError: if the checkpoint is broken; nothing is changed.
        """
        try:
            algorithm.restore_from_path(str(self.checkpoint.resolve()))
        except Exception as error:  # anything may come out of a broken pickle
            raise _broken(self.checkpoint, error) from error
        steps = self.counters()["env_steps"]
        rows = [row for row in _rows(self._progress) if row["env_steps"] <= steps]
        write(self._progress, "".join(map(_line, rows)))
        if evaluated := [row for row in rows if RETURN in row]:
            write(self._evaluations, "".join(_line(_evaluation(row)) for row in evaluated))
        else:
            self._evaluations.unlink(missing_ok=True)

    def begin(self) -> None:
        """Make the folder anew. Files in it that no run writes are left alone."""
        for pattern in _OWN_FILES:
            for path in self.folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder / "experiment.json", self.experiment.to_json())

    def add(self, row: dict[str, float | None]) -> None:
        """Append to progress.jsonl, and to evaluation.jsonl if it was evaluated."""
        with self._progress.open("a") as file:
            file.write(_line(row))
        if RETURN in row:
            with self._evaluations.open("a") as file:
                file.write(_line(_evaluation(row)))

    def save(self, algorithm, counters: dict[str, float], *, final: bool) -> None:
        """Replace the checkpoint. A final one lacks the replay: nobody goes on from it."""
        candidate = self._write(algorithm, self.checkpoint, with_replay=not final)
        self._exchange(candidate, self.checkpoint, counters)

    def propose(self, algorithm) -> Path:
        """Write what may become best/; the folder can be played, or forgotten."""
        return self._write(algorithm, self.best, with_replay=False)

    def accept(self, candidate: Path, counters: dict[str, float]) -> None:
        """Make the proposed one best/; the counters have its evaluation_return."""
        self._exchange(candidate, self.best, counters)

    def _write(self, algorithm, folder: Path, *, with_replay: bool) -> Path:
        new = _beside(folder, "new")
        if new.exists():
            shutil.rmtree(new)
        state = None if with_replay else algorithm.get_state(not_components=["replay"])
        algorithm.save_to_path(str(new.resolve()), state=state)
        return new

    def _exchange(self, new: Path, folder: Path, counters: dict[str, float]) -> None:
        old = _beside(folder, "old")
        (new / "counters.json").write_text(json.dumps(counters))
        if folder.exists():
            if old.exists():
                shutil.rmtree(old)
            folder.rename(old)
        new.rename(folder)
        if old.exists():
            shutil.rmtree(old)

    def _counters(self, folder: Path, *names: str) -> dict[str, Any]:
        """What counters.json of a checkpoint says; it has these names."""
        try:
            counters = json.loads((folder / "counters.json").read_text())
            return {name: counters[name] for name in names}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _broken(folder, error) from error


def _beside(folder: Path, end: str) -> Path:
    return folder.with_name(f"{folder.name}.{end}")


def _broken(folder: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{folder} is broken and is left as it is: {error!r}; move it away or overwrite the run"
    )


def read_experiment(folder: Path) -> dict[str, Any]:
    """What the experiment.json of a run says.

    Raises:
        ValueError: if there is none, or it is not JSON.
    """
    file = Path(folder) / "experiment.json"
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise ValueError(f"{folder} is not a run: it has no experiment.json") from error
    except ValueError as error:
        raise ValueError(f"{file} is broken: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is broken: it holds no experiment")
    return content


def read_progress(folder: Path) -> pd.DataFrame:
    """The rows of a run's progress.jsonl; none before the first iteration."""
    return pd.DataFrame(_rows(Path(folder) / "progress.jsonl"))


def write(file: Path, text: str) -> None:
    """Replace a file as a whole; of several processes that do so, the last one stays."""
    new = file.with_name(f".{uuid4().hex}.new")
    try:
        new.write_text(text)
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)


def _line(row: dict[str, float | None]) -> str:
    return json.dumps(row) + "\n"


def _evaluation(row: dict[str, float | None]) -> dict[str, float | None]:
    """The part of a row of progress.jsonl that is about its evaluation."""
    measured = {k.removeprefix(_PREFIX): x for k, x in row.items() if k.startswith(_PREFIX)}
    return {"env_steps": row["env_steps"], **measured}


def _rows(progress: Path) -> list[dict[str, Any]]:
    if not progress.exists():
        return []
    lines = progress.read_text().split("\n")[:-1]  # after the last newline: nothing, or cut off
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise ValueError(f"{progress} is broken: {error}") from error


def differences(
    there: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(field, value there, value asked for) of all fields that differ, also in inner dicts."""
    for name in dict.fromkeys([*asked, *there]):
        left, right = there.get(name), asked.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from differences(left, right, f"{prefix}{name}.")
        elif left != right:
            yield f"{prefix}{name}", left, right
