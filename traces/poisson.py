"""Poisson arrivals at a constant rate, with independent work of a chosen law.

    traces.load("poisson", rng, rate_per_s=700.0, duration_s=60.0, mean_work_s=0.02)

Columns: time_s; work_s, the service time on one core of speed 1. The work laws have the given
mean and a squared coefficient of variation (scv = variance / mean^2):

    exponential       scv 1; the law of the paper's large cluster (mean 0.2 s, 24 servers)
    deterministic     scv 0
    hyperexponential  scv >= 1, by default 4: two exponential phases of balanced means, each phase
                      giving half the work (Whitt, Approximating a point process by a renewal
                      process, 1982)
    lognormal         scv > 0, by default 4: a longer tail than any exponential's

Under processor sharing the mean latency depends on the mean work alone, so the laws are also the
test of a simulator.

Reference: Yao, Ding, Clausen: Multi-agent reinforcement learning for network load balancing in
data center, CIKM 2022.
"""

import math

import numpy as np

from marlserve.traces.base import Trace, earlier_than

COLUMNS = ("time_s", "work_s")
_DEFAULT_SCV = {"exponential": 1.0, "deterministic": 0.0, "hyperexponential": 4.0, "lognormal": 4.0}
WORK_LAWS = tuple(_DEFAULT_SCV)


def load(
    rng: np.random.Generator,
    *,
    rate_per_s: float,
    duration_s: float,
    mean_work_s: float = 0.1,
    work_law: str = "exponential",
    work_scv: float | None = None,
) -> Trace:
    """Draw a trace of `duration_s` seconds from `rng`.

    Args:
        rate_per_s: mean number of arrivals in a second.
        work_scv: squared coefficient of variation of the work; the law's own by default.

    Raises:
        ValueError: for a rate or duration that is negative or not finite, a mean work that is not
            positive, an unknown law, or an scv that the law cannot have.
    """
    time_s = arrivals(rng, rate_per_s, duration_s)
    return Trace(
        {"time_s": time_s, "work_s": draw_work(rng, len(time_s), mean_work_s, work_law, work_scv)},
        float(duration_s),
    )


def arrivals(rng: np.random.Generator, rate_per_s: float, duration_s: float) -> np.ndarray:
    """Times of a Poisson process on [0, duration_s), [n], sorted."""
    for name, value in {"rate_per_s": rate_per_s, "duration_s": duration_s}.items():
        if not 0.0 <= value < np.inf:
            raise ValueError(f"{name} is {value}; expected a finite, non-negative number")
    # Given their number, the times are uniform order statistics: partial sums of exponential
    # gaps over their total, which needs no sort.
    count = rng.poisson(rate_per_s * duration_s)
    time_s = rng.standard_exponential(count + 1).cumsum()
    time_s *= duration_s / time_s[-1]
    return earlier_than(duration_s, time_s[:-1])


def draw_work(
    rng: np.random.Generator,
    count: int,
    mean_work_s: float,
    law: str = "exponential",
    scv: float | None = None,
) -> np.ndarray:
    """Independent draws of work in seconds, [count]; errors as for `load`."""
    if law not in WORK_LAWS:
        raise ValueError(f"work_law is {law!r}; allowed are {WORK_LAWS}")
    if not 0.0 < mean_work_s < np.inf:
        raise ValueError(f"mean_work_s is {mean_work_s}; expected a positive number")
    scv = _DEFAULT_SCV[law] if scv is None else scv
    if law == "exponential" and scv == 1.0:
        return rng.exponential(mean_work_s, count)
    if law == "deterministic" and scv == 0.0:
        return np.full(count, mean_work_s)
    if law == "hyperexponential" and 1.0 <= scv < np.inf:
        short = 0.5 + 0.5 * math.sqrt((scv - 1.0) / (scv + 1.0))  # probability of the short phase
        phase = np.where(rng.random(count) < short, 0.5 / short, 0.5 / (1.0 - short))
        return rng.standard_exponential(count) * phase * mean_work_s
    if law == "lognormal" and 0.0 < scv < np.inf:
        spread = math.log1p(scv)  # variance of the logarithm
        return rng.lognormal(math.log(mean_work_s) - spread / 2.0, math.sqrt(spread), count)
    raise ValueError(f"work_scv is {scv}; {law} work cannot have it")
