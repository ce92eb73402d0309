"""Jobs of a cluster, drawn from the model that Lublin and Feitelson fitted to three real logs.

    log = traces.load("lublin", rng, num_jobs=10_000)                  # a `job_log.JobLog`

Sizes: 1 processor, or 2 ** x, where x is uniform in two stages, and rounded for most jobs: powers
of 2 are what users ask for. Run times: the logarithm is of one of two gamma laws, and the larger a
job, the more likely is the longer one. Arrivals: the logarithm of a gap is of a gamma law, in time
that passes at a pace that follows the hour of the day, busiest early in the afternoon. Times are in
whole seconds, from midnight on.

By default jobs are of one kind, which the model has parameters for, too. With `kinds`, interactive
jobs and batch jobs come in two streams with laws of their own. The model has neither users nor
requested times: `requested_s` is the run time, or, with `overestimate` f, uniform between it and
1 + f times as much, as Mu'alem and Feitelson have it.

References: Lublin, Feitelson: The workload on parallel supercomputers: modeling the
characteristics of rigid jobs, JPDC 63, 2003, with the authors' program for the constants; Mu'alem,
Feitelson: Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM
SP2 with backfilling, TPDS 12, 2001.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from marlserve.traces.job_log import COLUMNS, JobLog

__all__ = ["BATCH", "COLUMNS", "INTERACTIVE", "WHOLE", "Kind", "load"]

_BUCKET_S, _BUCKETS = 1800.0, 48  # in which the pace is constant
_FIRST_BUCKET = 10  # of the gamma law of the hours: half past 5 in the morning, less half a bucket
_LONGEST_LOG_RUN, _LONGEST_LOG_GAP = 12.0, 13.0  # of seconds; what is longer is drawn anew


@dataclass(frozen=True)
class Kind:
    """The laws of one kind of jobs; gamma laws have a shape and a scale."""

    serial: float  # share of jobs on one processor
    power_of_2: float  # of parallel jobs on a power of 2
    low: float  # log2 of the smallest parallel job
    middle: float  # where the stages meet: this far below log2 of the largest one
    first_stage: float  # share of parallel jobs between the two
    short_run: tuple[float, float]  # gamma law of the logarithm of a run time
    long_run: tuple[float, float]
    short_share: tuple[float, float]  # (a, b): a * processors + b of them are short
    gap: tuple[float, float]  # gamma law of the logarithm of a gap
    hours: tuple[float, float]  # gamma law of when jobs come, in half hours since the morning


WHOLE = Kind(
    *(0.244, 0.576, 0.8, 2.5, 0.86, (4.2, 0.94), (312.0, 0.03), (-0.0054, 0.78)),
    *((10.2303 * 1.0225, 0.4871), (8.1737, 3.9631)),
)
BATCH = Kind(
    *(0.2927, 0.6686, 1.2, 2.0, 0.875, (6.57, 0.823), (639.1, 0.0156), (-0.003, 0.6986)),
    *((6.0415 * 1.0519, 0.8531), (6.1271, 5.2740)),
)
INTERACTIVE = Kind(
    *(0.1541, 0.625, 1.0, 2.5, 0.705, (3.8351, 0.6605), (7.073, 0.6856), (-0.0118, 0.9156)),
    *((6.5510 * 0.9797, 0.6621), (8.9186, 3.6680)),
)
_SMALLER = 1.5  # log2: interactive jobs leave this much of the cluster


def load(
    rng: np.random.Generator | None,
    *,
    num_jobs: int = 10_000,
    num_processors: int = 256,
    kinds: bool = False,
    offered_load: float | None = None,
    overestimate: float = 0.0,
) -> JobLog:
    """Draw a log from `rng`.

    Args:
        num_jobs: of the log.
        num_processors: of the cluster; the largest job has as many.
        kinds: interactive jobs and batch jobs rather than one kind.
        offered_load: the share of the cluster that the jobs fill: gaps are stretched so; None: as
            they were drawn.
        overestimate: f, see above.

    Raises:
        ValueError: for a bad value, naming it, and without an `rng`.
    """
    if rng is None:
        raise ValueError("rng is None; a synthetic trace is drawn from it")
    for name, value, least in (("num_jobs", num_jobs, 1), ("num_processors", num_processors, 8)):
        if not (isinstance(value, int) and value >= least):
            raise ValueError(f"{name} is {value!r}; expected a whole number, at least {least}")
    if not 0.0 <= overestimate < np.inf:
        raise ValueError(f"overestimate is {overestimate}; expected a number, at least 0")
    if offered_load is not None and not 0.0 < offered_load < np.inf:
        raise ValueError(f"offered_load is {offered_load}; expected a positive number")
    largest = math.log2(num_processors)
    laws = ((INTERACTIVE, largest - _SMALLER), (BATCH, largest)) if kinds else ((WHOLE, largest),)
    time_s, run_s, processors = (
        np.concatenate(column)
        for column in zip(*(_stream(rng, *law, num_jobs) for law in laws), strict=True)
    )
    first = np.argsort(time_s, kind="stable")[:num_jobs]
    time_s, run_s, processors = time_s[first], run_s[first], processors[first]
    if offered_load is not None:
        span_s = np.nextafter(time_s[-1], np.inf)
        work = float((run_s * processors).sum())
        time_s = time_s * (work / num_processors / offered_load / max(span_s, 1.0))
    time_s = np.floor(time_s)
    columns = {
        "time_s": time_s,
        "run_s": run_s,
        "requested_s": np.ceil(run_s * (1.0 + overestimate * rng.random(num_jobs))),
        "processors": processors,
        "user": np.full(num_jobs, -1),
    }
    return JobLog(columns, float(np.nextafter(time_s[-1], np.inf)), 0.0, num_processors)


def _stream(
    rng: np.random.Generator, kind: Kind, largest: float, count: int
) -> tuple[np.ndarray, ...]:
    """Times, run times and processors of the first `count` jobs of one kind."""
    processors = sizes(rng, kind, largest, count)
    slope, at_0 = kind.short_share
    short = rng.random(count) <= np.clip(slope * processors + at_0, 0.0, 1.0)
    log_run = np.where(
        short,
        _truncated(rng, kind.short_run, _LONGEST_LOG_RUN, count),
        _truncated(rng, kind.long_run, _LONGEST_LOG_RUN, count),
    )
    run_s = np.maximum(np.floor(np.exp(log_run)), 1.0)
    gaps = np.exp(_truncated(rng, kind.gap, _LONGEST_LOG_GAP, count))
    return _in_seconds(np.cumsum(gaps), pace(kind)), run_s, processors


def sizes(rng: np.random.Generator, kind: Kind, largest: float, count: int) -> np.ndarray:
    """Processors of jobs, [count] int64; `largest` is log2 of the most."""
    law, middle = rng.random(count), largest - kind.middle
    first = rng.random(count) <= kind.first_stage
    low, high = np.where(first, kind.low, middle), np.where(first, middle, largest)
    exponent = low + (high - low) * rng.random(count)
    powers = law <= kind.serial + kind.power_of_2
    parallel = 2.0 ** np.where(powers, np.floor(exponent + 0.5), exponent)
    most = np.floor(2.0**largest)
    return np.where(law <= kind.serial, 1, np.minimum(np.rint(parallel), most)).astype(np.int64)


def pace(kind: Kind) -> np.ndarray:
    """How fast jobs come in each half hour of a day from midnight on, of mean 1, [48]."""
    shape, scale = kind.hours
    place = _FIRST_BUCKET + 1 + np.arange(_BUCKETS)
    before, after = (special.gammainc(shape, (place + x) / scale) for x in (-0.5, 0.5))
    weights = np.empty(_BUCKETS)
    weights[(place - 1) % _BUCKETS] = after - before
    return weights / weights.mean()


def _in_seconds(passed: np.ndarray, paces: np.ndarray) -> np.ndarray:
    """Clock times at which so much time has passed at these paces."""
    by_bucket = np.concatenate([[0.0], np.cumsum(paces * _BUCKET_S)])
    days, rest = np.divmod(passed, by_bucket[-1])
    clock_s = np.interp(rest, by_bucket, _BUCKET_S * np.arange(_BUCKETS + 1))
    return days * _BUCKET_S * _BUCKETS + clock_s


def _truncated(
    rng: np.random.Generator, law: tuple[float, float], most: float, count: int
) -> np.ndarray:
    """Gamma variates that are at most `most`, [count]: larger ones are drawn anew."""
    shape, scale = law
    values = rng.gamma(shape, scale, count)
    while (over := values > most).any():
        values[over] = rng.gamma(shape, scale, int(over.sum()))
    return values
