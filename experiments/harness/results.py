"""What was played: results.csv, one row per policy, training seed and episode.

It has the columns policy, training_seed (empty for heuristics), episode_seed, oracle,
system (see `Contestant`), return, window where episodes play parts of a recording, and the metrics
of the problem.
"""

from pathlib import Path

import pandas as pd

from marlserve.experiments.harness.run import write

KEYS = ["policy", "training_seed"]


def read_results(file: Path) -> pd.DataFrame:
    """The rows of results.csv.

    Raises:
        ValueError: if there is no such file, or it lacks columns.
    """
    try:
        rows = pd.read_csv(file, dtype={"training_seed": "Int64", "policy": str})
    except FileNotFoundError as error:
        raise ValueError(f"there is no {file}: evaluate something first") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{file} is broken: {error}") from error
    if missing := {*KEYS, "episode_seed", "oracle", "return"} - set(rows):
        raise ValueError(f"{file} has no columns {sorted(missing)}")
    return rows


def merge_results(file: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Put rows into results.csv, in place of those of the same policies and training seeds.

    Returns:
        all rows that are there now.

    Raises:
        ValueError: if the file has other columns; it is left as it is.
    """
    if file.exists():
        old = read_results(file)
        if set(old) != set(rows):
            raise ValueError(
                f"{file} has other columns ({sorted(set(old) ^ set(rows))} are not in both); "
                "move it away"
            )
        # Compared as text: two missing training seeds are the same one.
        new_keys = set(map(str, rows[KEYS].itertuples(index=False, name=None)))
        keys = [str(key) for key in old[KEYS].itertuples(index=False, name=None)]
        old = old[[key not in new_keys for key in keys]]
        rows = pd.concat([old, rows], ignore_index=True) if len(old) else rows
    rows = rows.sort_values([*KEYS, "episode_seed"], ignore_index=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, rows.to_csv(index=False))
    return rows
