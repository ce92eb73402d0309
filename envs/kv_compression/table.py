"""What becomes of prompts under every arm, looked up instead of tried.

A table is a folder: table.json says of which problem, and <split>-<first prompt>.npz hold some
prompts each. With it, regret is exact and training needs no language model. What is in it is what
`live.Live` finds out, whatever a policy sees or is rewarded by; it serves a problem with some of
its arms as well. Where prompts are texts, it also keeps what was said, for `encoded`.
"""

import json
import os
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from marlserve.envs.kv_compression import observation
from marlserve.envs.kv_compression.live import OUTCOMES, Live

CHUNK = 100  # prompts in a file
_DESCRIPTION, _NEW = "table.json", ".new"
# What the same table serves: how it is read, not what is in it.
NOT_OF_THE_TABLE = (
    "context",
    "reward",
    "entry_price",
    "device",
    "trust_remote_code",
    "table_path",
    "split",
)
_TYPE, _TYPES, CONTEXT = "type", "types", "context:"
SAID = "said"  # tokens of the answers [P, A + 1, m] int32, filled up with -1


def chunks(config) -> list[int]:
    """The first prompts of the files of a split."""
    return list(range(0, config.split_prompts, CHUNK))


def missing(folder: Path, config) -> list[int]:
    """Of `chunks`, those whose file is not there yet.

    Raises:
        ValueError: if the folder holds a table of another problem.
    """
    if folder.exists():
        _check(folder, config)
    return [first for first in chunks(config) if not _file(folder, config.split, first).exists()]


def build(folder: Path, config, first: int) -> None:
    """Write one file: the prompts from `first` on, one of `chunks`. Several processes may write
    files of one table.

    Raises:
        ValueError: if the folder holds a table of another problem.
    """
    if folder.exists():
        _check(folder, config)
        _check_arms(folder, config)
    groups = [name for name in observation.GROUPS if name != "text" or config.text_encoder]
    live, last = Live(config), min(first + CHUNK, config.split_prompts)
    columns: dict[str, list] = {}
    for index in range(first, last):
        seen = live.measured(index)
        row: dict[str, Any] = {
            CONTEXT + group: observation.group(seen, group, config) for group in groups
        }
        outcomes, said = live.tried(index, range(len(config.arms)))
        row |= outcomes
        if config.prompts_path:
            filling = config.answer_tokens - said.shape[1]
            row[SAID] = np.pad(said, ((0, 0), (0, filling)), constant_values=-1)
        row[_TYPE] = live.type(index)
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    arrays: dict[str, Any] = {name: np.array(values) for name, values in columns.items()}
    arrays[_TYPES] = np.array(live.types)
    write(folder, config, first, arrays)


def columns(folder: Path, config, first: int) -> dict[str, np.ndarray]:
    """One file of a table with all of its arms, by name.

    Raises:
        ValueError: if it is not there, or of another problem.
    """
    if first in missing(folder, config):
        raise ValueError(f"{folder} lacks the {config.split} prompts from {first} on")
    _check_arms(folder, config)
    return _read(_file(folder, config.split, first))


def write(folder: Path, config, first: int, columns: dict[str, Any]) -> None:
    """Write one file, and the table's description if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    description = folder / _DESCRIPTION
    if not description.exists():
        _replace(description, lambda file: file.write(json.dumps(_described(config)).encode()))
    _replace(_file(folder, config.split, first), lambda file: np.savez_compressed(file, **columns))


class Table:
    """The table of one problem and split.

    Args:
        config: with a `table_path`.

    Attributes:
        types: names of the prompts' types.
        written_ns: when its files were, to tell a table from an earlier one in the same folder.

    Raises:
        ValueError: if there is no such table, it is broken or of another problem, or it lacks
            prompts or a group of the context.
    """

    def __init__(self, config):
        folder = Path(config.table_path)
        if not (folder / _DESCRIPTION).exists():
            raise ValueError(
                f"table_path is {str(folder)!r}, which holds no table; allowed is '' or a folder "
                "that make-table wrote"
            )
        lacking = missing(folder, config)
        if lacking:
            raise ValueError(
                f"{folder} lacks the {config.split} prompts from {lacking[0]} on: make-table "
                "goes on with it"
            )
        files = [_file(folder, config.split, first) for first in chunks(config)]
        self.written_ns = tuple(file.stat().st_mtime_ns for file in files)
        self._columns = _load(tuple(files), self.written_ns)
        there = json.loads((folder / _DESCRIPTION).read_text())["arms"]
        self._arms = None  # where its own are in the table; None: they are all of it
        if list(config.arms) != there:
            self._arms = np.array([there.index(arm) for arm in config.arms])
        if len(self) != config.split_prompts:
            raise ValueError(f"{folder} is broken: its files have {len(self)} prompts")
        for group in config.context:
            if CONTEXT + group not in self._columns:
                raise ValueError(f"context has {group!r}, which {folder} lacks")
        self.types = tuple(map(str, self._columns[_TYPES]))

    def __len__(self) -> int:
        """Prompts of the split."""
        return len(self._columns[_TYPE])

    def type(self, index):
        """Which of the types a prompt is of; of indices [B], [B]."""
        return self._columns[_TYPE][index]

    def context(self, index, group: str) -> np.ndarray:
        """One group of the features, [F] float32; of indices [B], [B, F]."""
        return self._columns[CONTEXT + group][index]

    def outcomes(self, index, arms) -> dict[str, np.ndarray]:
        """As `Live.outcomes`; of indices [B] and arms [B], [B] each."""
        arms = arms if self._arms is None else self._arms[arms]
        return {name: self._columns[name][index, arms] for name in OUTCOMES}

    def all_outcomes(self) -> dict[str, np.ndarray]:
        """Of all prompts and arms, [P, K] each."""
        found = {name: self._columns[name] for name in OUTCOMES}
        if self._arms is None:
            return found
        return {name: values[:, self._arms] for name, values in found.items()}


def training(config) -> Table:
    """The table of the training prompts of a problem, for what has to learn from them.

    Raises:
        ValueError: as for `Table`, and without a table_path.
    """
    if not config.table_path:
        raise ValueError(
            "table_path is ''; what learns from the training prompts needs a table of them: "
            "make-table writes one"
        )
    return Table(replace(config, split="train"))


@lru_cache(maxsize=8)
def _load(files: tuple[Path, ...], written_ns: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The columns of all files, joined; read-only, as all problems share them."""
    parts = [_read(path) for path in files]
    joined = {
        name: parts[0][name] if name == _TYPES else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    for column in joined.values():
        column.flags.writeable = False
    return joined


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} is broken: {error}; where it is deleted, make-table writes it anew"
        ) from error


def _described(config) -> dict:
    """The fields that a table depends on, as JSON gives them back."""
    fields = {k: v for k, v in asdict(config).items() if k not in NOT_OF_THE_TABLE}
    return json.loads(json.dumps(fields))


def _check(folder: Path, config) -> None:
    file = folder / _DESCRIPTION
    if not file.exists():
        if any(path.suffix != _NEW for path in folder.iterdir()):
            raise ValueError(f"{folder} holds something else than a table; choose another folder")
        return
    try:
        there = dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is broken: {error}") from error
    before = _described(type(config)())  # what an earlier version's table does not know
    for name, asked in _described(config).items():
        have = there.get(name, before[name])
        if have != asked and not (name == "arms" and have and set(asked) <= set(have)):
            raise ValueError(
                f"{folder} holds another table: {name} is {have!r} there, {asked!r} is asked for"
            )


def _check_arms(folder: Path, config) -> None:
    """That a table is gone on with all of its arms."""
    file = folder / _DESCRIPTION
    if file.exists() and (there := json.loads(file.read_text())["arms"]) != list(config.arms):
        raise ValueError(f"{folder} is a table of more arms: go on with it by --arms {(*there,)}")


def _file(folder: Path, split: str, first: int) -> Path:
    return folder / f"{split}-{first:06d}.npz"


def _replace(file: Path, write) -> None:
    """Write a file as a whole, whoever else does."""
    new = file.with_name(f".{file.name}.{os.getpid()}{_NEW}")
    with new.open("wb") as opened:
        write(opened)
    new.replace(file)
