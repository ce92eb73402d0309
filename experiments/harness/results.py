"""What was played: results.csv, one row per policy, training seed and episode.

Its columns are policy, training_seed (empty for heuristics), run, episode_seed, oracle,
system (see `Contestant`), return, window where episodes play parts of a recording, and the metrics
of the problem. The column run is a
digest of what was trained (`Experiment.digest`; empty for what no experiment has made), so that two
trainings of one name are two policies: `read_results` tells them apart as "qmix#1a2b3c4d".

played.json beside it says under which Config all of it was played, and which experiment each digest
is of. Rows that were played under another Config are refused: they are no comparison.

Several processes may write to one folder, and take turns:

    with taking_turns(folder):
        rows = merge_results(folder / "results.csv", rows, problem, config)
        write(folder / "table.md", ...)
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from marlserve.experiments.harness.locks import taking_turns
from marlserve.experiments.harness.run import differences, write

RUN = "run"
KEYS = ["policy", "training_seed"]  # of what `read_results` gives
_STORED_KEYS = [*KEYS, RUN]


def read_results(file: Path) -> pd.DataFrame:
    """The rows of results.csv. Of policies with one name and different trainings, the name ends
    with the digest of theirs.

    Raises:
        ValueError: if there is no such file, or it lacks columns.
    """
    rows = _read(file)
    trainings = rows.groupby("policy")[RUN].transform("nunique")
    named = rows["policy"].where(trainings == 1, rows["policy"] + "#" + rows[RUN])
    return rows.assign(policy=named)


def merge_results(
    file: Path,
    rows: pd.DataFrame,
    problem: str,
    config: Any,
    experiments: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Put rows into results.csv, in place of those of the same policies, training seeds and runs.

    It says whose rows of learned policies take the place of others.

    Args:
        file: results.csv.
        rows: as `evaluate.evaluate` gives them; without the column run, they are of no run.
        problem: its name.
        config: the Config that they were played under.
        experiments: {digest: what was trained} of the runs, for played.json.

    Returns:
        all rows that are there now, as `read_results` gives them.

    Raises:
        ValueError: if the file has other columns, or was played under another Config; it is left
            as it is.
        TimeoutError: see `taking_turns`.
    """
    if RUN not in rows:
        rows = rows.assign(**{RUN: ""})
    front = [*_STORED_KEYS, "episode_seed", "oracle", "return"]
    rows = rows[[*front, *(name for name in rows if name not in front)]]
    with taking_turns(file.parent):
        played = _played(file, problem, config, experiments or {})
        if file.exists():
            rows = _merged(file, _read(file), rows)
        rows = rows.sort_values([*_STORED_KEYS, "episode_seed"], ignore_index=True)
        write(file.with_name("played.json"), json.dumps(played, indent=2) + "\n")
        write(file, rows.to_csv(index=False))
        return read_results(file)


def check_fits(file: Path, problem: str, config: Any) -> None:
    """Whether rows of this Config can be merged: to be asked before they are played.

    Raises:
        ValueError: if it was played under another Config.
    """
    _played(file, problem, config, {})


def _read(file: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(file, dtype={"training_seed": "Int64", "policy": str, RUN: str})
    except FileNotFoundError as error:
        raise ValueError(f"there is no {file}: evaluate something first") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{file} is broken: {error}") from error
    if missing := {*KEYS, "episode_seed", "oracle", "return"} - set(rows):
        raise ValueError(f"{file} has no columns {sorted(missing)}")
    return rows.assign(**{RUN: rows[RUN].fillna("") if RUN in rows else ""})


def _played(
    file: Path, problem: str, config: Any, experiments: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What played.json is to say."""
    beside = file.with_name("played.json")
    asked = json.loads(json.dumps({"problem": problem, "config": asdict(config)}))
    if not file.exists():
        return asked | {"experiments": dict(experiments)}
    try:
        there = json.loads(beside.read_text())
        before = {name: there[name] for name in asked}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside} does not say what {file} holds ({error!r}): move the folder away"
        ) from error
    for name, old, new in differences(before, asked):
        raise ValueError(
            f"{file} was played with {name} {old!r}, this was with {new!r}: they do not compare; "
            "choose another folder, or move it away"
        )
    return asked | {"experiments": {**there.get("experiments", {}), **experiments}}


def _merged(file: Path, old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    if set(old) != set(new):
        raise ValueError(
            f"{file} has other columns ({sorted(set(old) ^ set(new))} are not in both); "
            "move it away"
        )
    keys, new_keys = (
        list(rows[_STORED_KEYS].fillna({"training_seed": -1}).itertuples(index=False, name=None))
        for rows in (old, new)
    )
    there, played = set(keys), set(new_keys)
    for policy, seed, _ in sorted(there & played):
        if seed >= 0:
            print(f"{policy}, seed {seed}: played anew, in place of its rows in {file}")
    for policy, seed, _ in sorted(played - there):
        if seed >= 0 and any((policy, seed) == key[:2] for key in there):
            print(f"{policy}, seed {seed}: of another training than that in {file}, beside it")
    kept = old[[key not in played for key in keys]]
    return pd.concat([kept, new], ignore_index=True) if len(kept) else new
