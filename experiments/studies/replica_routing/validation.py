"""Does the simulator serve as an independent engine did? Request by request, in recorded runs.

A folder of references holds runs.json, a list of runs, each with

    name, trace              of its results, <name>.csv, and of its requests, in Mooncake's form
    workers, arrival_speedup engines, and a factor that arrival times are divided by
    timing                   "polynomial", "linear" or "fixed": see `TIMINGS`
    block_size, num_blocks, max_num_seqs, max_num_batched_tokens, prefix_caching

and for each run <name>.csv with request (row of the trace), worker, admit_ms, first_token_ms,
last_token_ms, reused_tokens (the most at one admission) and readmissions. Requests are sent to the
recorded workers; what these do with them is compared. A folder may also hold recorded runs of a
real engine, see `recorded`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve.envs.sims.replica import Engine, Timing
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.studies.replica_routing import recorded, replaying
from marlserve.experiments.studies.study import Study

TIMINGS: dict[str, Callable[[int], Timing]] = {  # by the tokens that the cache holds
    "polynomial": Timing.of_cache,  # of NVIDIA Dynamo's mock engine
    "linear": lambda tokens: Timing.linear(2.0, 0.01, 5.0, 1e-5),
    "fixed": lambda tokens: Timing.linear(100.0, 0.0, 10.0, 0.0),
}
ALLOWED_MS = 1.0  # that a time of a request may be off
_CLOSE_MS = 0.01
_RUN = (
    *("name", "trace", "workers", "arrival_speedup", "timing", "block_size", "num_blocks"),
    *("max_num_seqs", "max_num_batched_tokens", "prefix_caching"),
)
_RESULT = (
    "request",
    "worker",
    "admit_ms",
    "first_token_ms",
    "last_token_ms",
    "reused_tokens",
    "readmissions",
)
_TIMES = {"admit": "admitted_ns", "first_token": "first_token_ns", "last_token": "last_token_ns"}


@dataclass(frozen=True)
class Validate:
    """Serve what an independent engine served, and compare request by request."""

    reference: Path | None = None  # a folder with runs.json, a CSV for each run, and traces

    def run(self, study: Study) -> None:
        if self.reference is None:
            raise ValueError("reference is None; name a folder with runs.json")
        described = described_in(self.reference)
        if isinstance(described, dict):
            rows, wrong = recorded.compared(self.reference, described)
        else:
            rows = [compared(self.reference, run) for run in checked(described)]
            wrong = [
                f"a request of {row['run']} is more than {ALLOWED_MS:g} ms off"
                for row in rows
                if float(row["largest ms"]) > ALLOWED_MS
            ]
        print(markdown_lines(list(rows[0]), [list(row.values()) for row in rows]))
        if wrong:
            raise ValueError("; ".join(wrong))


def described_in(folder: Path) -> Any:
    """What runs.json holds: a list of runs, or of a real engine a dict with its "runs".

    Raises:
        ValueError: if there is no such file, or it is of another form.
    """
    path = folder / "runs.json"
    if not path.exists():
        raise ValueError(f"there is no {path}; a folder of references has one")
    found = json.loads(path.read_text())
    runs = found.get("runs") if isinstance(found, dict) else found
    if not (isinstance(runs, list) and runs and all(isinstance(run, dict) for run in runs)):
        raise ValueError(f"{path} is no list of runs, nor an engine's description with such a list")
    return found


def checked(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs, if each has what it needs.

    Raises:
        ValueError: if one has not.
    """
    for run in found:
        if missing := [name for name in _RUN if name not in run]:
            raise ValueError(f"runs.json: run {run.get('name')!r} has no {missing[0]}")
        if run["timing"] not in TIMINGS:
            raise ValueError(f"runs.json: timing is {run['timing']!r}; allowed are {list(TIMINGS)}")
    return found


def compared(folder: Path, run: dict[str, Any]) -> dict[str, str]:
    """One run: shares of requests in %, and relative errors of means and 99th percentiles."""
    result = pd.read_csv(folder / f"{run['name']}.csv")
    for name in _RESULT:
        if name not in result:
            raise ValueError(f"{run['name']}.csv has no column {name}")
        if result[name].isna().any():
            first = int(result[name].isna().argmax())
            raise ValueError(f"{run['name']}.csv, row {first}: there is no {name}")
    result = result.sort_values("request", ignore_index=True)
    if result["request"].tolist() != list(range(len(result))):
        raise ValueError(f"{run['name']}.csv: requests are not 0 to {len(result) - 1}")
    served = replayed(folder, run, result["worker"].to_numpy())
    off_ms = {
        name: np.abs(served[field] / 1e6 - result[f"{name}_ms"].to_numpy())
        for name, field in _TIMES.items()
    }
    row = {"run": run["name"], "requests": str(len(served))}
    for name, off in off_ms.items():
        within = (f"{100 * (off <= limit).mean():.2f}" for limit in (_CLOSE_MS, ALLOWED_MS))
        row[f"{name} within {_CLOSE_MS:g} / {ALLOWED_MS:g} ms, %"] = " / ".join(within)
    same = served["reused_tokens"] == result["reused_tokens"]
    row["reuse equal, %"] = f"{100 * same.mean():.2f}"
    row["readmissions"] = f"{(served['admissions'] - 1).sum()} / {result['readmissions'].sum()}"
    arrival_ms = served["arrival_ns"] / 1e6
    for name, field in (("TTFT", "first_token"), ("e2e", "last_token")):
        ours = served[_TIMES[field]] / 1e6 - arrival_ms
        theirs = result[f"{field}_ms"].to_numpy() - arrival_ms
        errors = (f(ours) / f(theirs) - 1 for f in (np.mean, lambda x: np.percentile(x, 99)))
        row[f"{name}: mean, p99"] = ", ".join(f"{error:+.1e}" for error in errors)
    gaps = served["output_tokens"].clip(1) - 1
    itl = [
        (last - first).sum() / gaps.sum()
        for last, first in (
            (served["last_token_ns"] / 1e6, served["first_token_ns"] / 1e6),
            (result["last_token_ms"], result["first_token_ms"]),
        )
    ]
    row["ITL: mean"] = f"{itl[0] / itl[1] - 1:+.1e}"
    row["largest ms"] = f"{max(off.max() for off in off_ms.values()):.5f}"
    return row


def replayed(folder: Path, run: dict[str, Any], workers: np.ndarray) -> np.ndarray:
    """The requests of a run as the simulator serves them, [N] (dtype `replica_arrays.REQUEST`)."""
    trace = replaying.read(folder, run["trace"], f"{run['name']}.csv", len(workers))
    engine = Engine(
        run["block_size"],
        run["num_blocks"],
        run["max_num_seqs"],
        run["max_num_batched_tokens"],
        run["prefix_caching"],
        TIMINGS[run["timing"]](run["num_blocks"] * run["block_size"]),
    )
    replicas = replaying.waiting(trace, [engine] * run["workers"])
    arrival_ns = np.rint((trace.time_s - trace.time_s[0]) / run["arrival_speedup"] * 1e9)
    replicas.play(workers[None], arrival_ns[None])
    return replicas.requests[0]
