"""Rows of results.csv, and what reads them from tables."""

import numpy as np
import pandas as pd

from marlserve.envs.load_balance import BASELINES

LIMIT_BYTES = 100_000


def rows_of(policy, values, *, oracle=False, system=""):
    """Rows of results.csv with the metric "m": {training seed or None: values}."""
    frames = [
        pd.DataFrame(
            {
                "policy": policy,
                "training_seed": pd.array([seed] * len(of_seed), dtype="Int64"),
                "episode_seed": range(len(of_seed)),
                "oracle": oracle,
                "system": system,
                "return": 0.0,
                "m": of_seed,
            }
        )
        for seed, of_seed in values.items()
    ]
    return pd.concat(frames, ignore_index=True)


def row(result, policy):
    return result.set_index("policy").loc[policy]


SED_S = np.array([0.02, 0.06])  # of two episodes


def played(policy, values, *, rejected=0.0, system=""):
    """Rows of results.csv: {training seed or None: mean latencies in s}."""
    oracle = policy in BASELINES and BASELINES[policy].oracle
    rows = rows_of(policy, values, oracle=oracle, system=system).rename(
        columns={"m": "mean_latency_s"}
    )
    known = {"jain_index": 0.75, "rejected": rejected, "completed": 100.0 - rejected}
    return rows.assign(p99_latency_s=10 * rows["mean_latency_s"], **known)


def cells(text, heading):
    """The table below a heading: {first cell: {column: cell}}."""
    (part,) = (x for x in text.split("\n## ") if x.startswith(heading))
    header, _, *rows = [x.strip("| ").split(" | ") for x in part.splitlines() if x.startswith("|")]
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}
