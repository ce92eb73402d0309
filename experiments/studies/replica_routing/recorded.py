"""Does the simulator predict what a real engine did? Its requests, served again in three ways.

A folder of recorded runs holds runs.json with

    engine, flags            what it was; the flags give block size, most sequences and tokens
    calibration.overhead     milliseconds from sending a request to the engine, and from the end of
                             a pass to the client
    trace_block_tokens       that an id of the traces stands for
    runs                     of each its run (name), trace, kv_cache_tokens, prefix_hit_ratio and
                             machine_factor, by which its passes took longer than the calibration's

calibration_passes.csv, and for each run its trace in Mooncake's form, <run>.csv with request (row
of the trace), sent_ms, admitted_ms, first_token_ms, last_token_ms, input_tokens and output_tokens,
and <run>.passes.csv with start_ms and waiting of each pass beside what `calibration` reads. Served
again are its requests

    driven     by the recorded lengths of the passes: what is decided is the simulator's
    scaled     by the calibrated timing, times the run's machine factor
    fitted     by the calibrated timing alone

Latencies count from the recorded `sent_ms`; the engine has a request `overhead` later.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve.envs.sims.replica import Engine, Replicas, TableTiming
from marlserve.experiments.studies.replica_routing import calibration, replaying
from marlserve.traces.llm_requests import LLMRequests

# The most that a mean or a 95th percentile may be off, and a share of prompt tokens in the cache.
BOUNDS = {"driven": {"mean": 0.02}, "scaled": {"mean": 0.10, "p95": 0.15}, "fitted": {}}
HITS = 0.005
ADMITTED = 0.99  # share of requests that the same pass admits, if driven
_SAME_MS = 0.1  # less than any pass takes: the recorded times are rounded
_UNIT = TableTiming((1.0,), (1.0,))  # one millisecond for every pass, times its slowness
_TIMES = {"TTFT": "first_token", "e2e": "last_token"}
_RUN = ("run", "trace", "kv_cache_tokens", "prefix_hit_ratio", "machine_factor")
_FLAGS = ("--block-size", "--max-num-seqs", "--max-num-batched-tokens")
_REQUEST = (
    *("request", "sent_ms", "admitted_ms", "first_token_ms", "last_token_ms"),
    *("input_tokens", "output_tokens"),
)
_ALL_RUNS = ("flags", "calibration", "trace_block_tokens", "runs")


@dataclass(frozen=True)
class Recorded:
    """A run as it was recorded; times in milliseconds."""

    name: str
    engine: Engine
    requests: pd.DataFrame
    passes: pd.DataFrame
    trace: LLMRequests
    to_engine_ms: float
    to_client_ms: float
    factor: float
    hit_share: float


def compared(folder: Path, described: dict[str, Any]) -> tuple[list[dict[str, str]], list[str]]:
    """Rows of a table, one per run and way of serving, and what is beyond `BOUNDS`.

    Raises:
        ValueError: for a folder of another form, naming what is missing.
    """
    if missing := [name for name in _ALL_RUNS if name not in described]:
        raise ValueError(f"runs.json has no {missing[0]}")
    timing = calibration.fitted(calibration.read(folder / "calibration_passes.csv"))
    rows, beyond = [], []
    for run in described["runs"]:
        recorded = read(folder, described, run, timing)
        for way in BOUNDS:
            row, wrong = _judged(recorded, way)
            rows.append(row)
            beyond += [f"{recorded.name}, {way}: {what}" for what in wrong]
    return rows, beyond


def _judged(recorded: Recorded, way: str) -> tuple[dict[str, str], list[str]]:
    """The row of one run that is served in one way, and what is beyond its bounds."""
    served, bounds, beyond = replayed(recorded, way), BOUNDS[way], []
    row = {"run": recorded.name, "requests": str(len(served)), "served": way}
    for name, field in _TIMES.items():
        theirs = recorded.requests[f"{field}_ms"] - recorded.requests["sent_ms"]
        ours = (served[f"{field}_ns"] - served["arrival_ns"]) / 1e6
        ours = ours + recorded.to_engine_ms + recorded.to_client_ms
        for what, measure in (("mean", np.mean), ("p95", _p95)):
            off = float(measure(ours) / measure(theirs) - 1.0)
            row[f"{name}: {what}"] = f"{off:+.1%}"
            if not abs(off) <= bounds.get(what, np.inf):
                beyond.append(f"{what} {name} is off by {off:+.1%}")
    hits = served["hit_tokens"].sum() / served["prompt_tokens"].sum()
    apart_ms = served["admitted_ns"] / 1e6 - recorded.requests["admitted_ms"].to_numpy()
    alike = float((np.abs(apart_ms) < _SAME_MS).mean())
    driven = way == "driven"
    row["admitted in that pass, %"] = f"{100.0 * alike:.1f}" if driven else ""
    row["cached share: ours, theirs"] = f"{hits:.4f}, {recorded.hit_share:.4f}"
    if driven and alike < ADMITTED:
        beyond.append(f"{alike:.1%} are admitted in that pass")
    if driven and abs(hits - recorded.hit_share) > HITS:
        beyond.append(f"cached is {hits:.4f}")
    return row, beyond


def read(
    folder: Path, described: dict[str, Any], run: dict[str, Any], timing: TableTiming
) -> Recorded:
    """One run.

    Raises:
        ValueError: if runs.json or a file of the run lacks something.
    """
    for name in _RUN:
        if name not in run:
            raise ValueError(f"runs.json: run {run.get('run')!r} has no {name}")
    flags = dict(flag.split(maxsplit=1) for flag in described["flags"] if " " in flag)
    for name in _FLAGS:
        if not flags.get(name, "").isdigit():
            raise ValueError(f"runs.json: flags has no number of {name}; it has {flags}")
    size, most_seqs, most_tokens = (int(flags[name]) for name in _FLAGS)
    engine = Engine(
        size,
        run["kv_cache_tokens"] // size - 1,  # one block is nobody's
        most_seqs,
        most_tokens,
        timing=timing,
    )
    file = folder / f"{run['run']}.csv"
    requests = pd.read_csv(file)
    for name in _REQUEST:
        requests[name] = calibration.numbers(file, requests, name)
    requests = requests.sort_values("request", ignore_index=True)
    file = folder / f"{run['run']}.passes.csv"
    passes = calibration.read(file)
    for name in ("start_ms", "waiting"):
        passes[name] = calibration.numbers(file, passes, name)
    tokens = described["trace_block_tokens"]
    trace = replaying.read(folder, run["trace"], f"{run['run']}.csv", len(requests), tokens)
    for name, column in (("input_tokens", "prompt_tokens"), ("output_tokens", "output_tokens")):
        other = requests[name].to_numpy() != trace[column]
        if other.any():
            row = int(other.argmax())
            raise ValueError(
                f"{run['run']}.csv, request {row}: {name} is {requests[name][row]:g}, and "
                f"{trace[column][row]} in {run['trace']}"
            )
    if (requests["sent_ms"].diff() < 0).any():
        raise ValueError(f"{run['run']}.csv: sent_ms falls; expected requests as they were sent")
    overhead = described["calibration"]["overhead"]
    return Recorded(
        run["run"],
        engine,
        requests,
        passes,
        trace,
        overhead["send_to_schedule_ms"]["mean"],
        overhead["pass_end_to_client_ms"]["mean"],
        run["machine_factor"],
        run["prefix_hit_ratio"],
    )


def replayed(recorded: Recorded, way: str) -> np.ndarray:
    """The requests as the simulator serves them, [N] (dtype `replica_arrays.REQUEST`)."""
    engine = recorded.engine if way != "driven" else replace(recorded.engine, timing=_UNIT)
    slowness = recorded.factor if way == "scaled" else 1.0
    replicas = replaying.waiting(recorded.trace, [engine], slowness)
    sent_ms = recorded.requests["sent_ms"].to_numpy(float)
    arrival_ns = np.rint((sent_ms + recorded.to_engine_ms) * 1e6).astype(np.int64)
    if way == "driven":
        _drive(replicas, _engine_has_ns(recorded, arrival_ns), recorded.passes)
    else:
        replicas.play(np.zeros((1, len(arrival_ns)), np.int64), arrival_ns[None])
    return replicas.requests[0]


def _engine_has_ns(recorded: Recorded, arrival_ns: np.ndarray) -> np.ndarray:
    """When the engine had each request, [N]: how long it took one is known on average only. It was
    there by the pass that admitted it, and not yet in those before in which nobody waited."""
    starts_ns, admitted_ns = (
        np.rint(times_ms.to_numpy(float) * 1e6).astype(np.int64)
        for times_ms in (recorded.passes["start_ms"], recorded.requests["admitted_ms"])
    )
    nobody_ns = np.append(-1, starts_ns[recorded.passes["waiting"] == 0])
    before_ns = nobody_ns[np.searchsorted(nobody_ns, admitted_ns) - 1]
    return np.minimum(np.maximum(arrival_ns, before_ns + 1), admitted_ns)


def _drive(replicas: Replicas, arrival_ns: np.ndarray, passes: pd.DataFrame) -> None:
    """Every pass begins and ends as it did; what is in it is decided anew."""
    engine, next_one = replicas.replicas[0], 0
    for start_ms, wall_ms in passes[["start_ms", "wall_ms"]].to_numpy(float):
        start_ns = round(start_ms * 1e6)
        while next_one < len(arrival_ns) and arrival_ns[next_one] <= start_ns:
            replicas.submit(np.zeros(1), arrival_ns[next_one : next_one + 1])
            next_one += 1
        engine["clock_ns"], engine["slowness"] = start_ns, wall_ms
        replicas.advance(np.array([start_ns + 1]))  # begins the pass
        replicas.advance(engine["pass_end_ns"])
    if next_one < len(arrival_ns):
        raise ValueError(f"the passes end before request {next_one} came")
    replicas.finish()


def _p95(values: np.ndarray) -> float:
    return float(np.percentile(values, 95))
