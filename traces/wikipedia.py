"""Requests to Wikipedia: a daily and weekly rhythm, light static pages and heavy wiki pages.

    traces.load("wikipedia", rng, start_s=18 * 3600.0, duration_s=60.0)    # a minute at the peak

A synthetic workload, a non-homogeneous Poisson process drawn by thinning (Lewis, Shedler, 1979).
Columns: time_s, seconds from `start_s`; work_s, service time on one core of speed 1; kind, int8,
STATIC (0) or WIKI (1). `start_s` counts from Monday 00:00 UTC. Only the asked window is drawn, and
two windows are independent draws even where they overlap. A day is 56 million rows, 1 GB.

Rate. The published extremes of English Wikipedia's day are 8 at 7:00 UTC, 14 at 18:00 and 12 at
2:00, in millions of requests per hour (dummywarhead.blogspot.com, Wikipedia loads, 2013). Two
harmonics through them by least squares, in value and slope, leave a peak of 1.22 and a trough of
0.69 times the mean. Weekends are quieter (Wikimedia's request graphs, wikien-l, 2 April 2007); how
much, 0.9, is our choice. A mean of 650 requests/s puts the peak at the paper's highest replay
rate, 796.3/s, and the trough, 446/s, below the hours that it replays, all above 500/s.

Work. The paper's cluster has 20 cores. Where it is least loaded (518.8/s) its best mean latencies
are 63.4 ms for wiki and 3.1 ms for static pages; nearly all of that is service, hence means of
60 and 3 ms. The share of wiki pages is not published: 36.5 % makes the mean work 23.8 ms, so that
the replay rates 518.8, 690.9, 696.5 and 796.3/s use 62, 82, 83 and 95 % of the cores. Both laws
are lognormal with squared coefficients of variation of 2 and 0.25, our choice; together they
have 5.97, as the few wiki pages are most of the work.

References: Urdaneta, Pierre, van Steen: Wikipedia workload analysis for decentralized hosting,
Computer Networks 53(11), 2009. Yao, Ding, Clausen: Multi-agent reinforcement learning for network
load balancing in data center, CIKM 2022.
"""

import math
from itertools import pairwise

import numpy as np

from marlserve.traces.base import Trace, earlier_than
from marlserve.traces.poisson import arrivals

COLUMNS = ("time_s", "work_s", "kind")
STATIC, WIKI = np.int8(0), np.int8(1)
DAY_S = 86_400.0
MEAN_RATE_PER_S = 650.0
WEEKEND = 0.9
WIKI_SHARE, WIKI_WORK_S, STATIC_WORK_S = 0.365, 0.060, 0.003
MEAN_WORK_S = WIKI_SHARE * WIKI_WORK_S + (1.0 - WIKI_SHARE) * STATIC_WORK_S
WIKI_SCV, STATIC_SCV = 2.0, 0.25

_CHUNK_S = 3600.0  # clock hours: bounds the temporary arrays, and midnight is always an edge
_STEEPEST_PER_S = 2.95e-5  # an upper bound of the slope of `shape` between midnights


def load(
    rng: np.random.Generator,
    *,
    start_s: float = 0.0,
    duration_s: float = DAY_S,
    mean_rate_per_s: float = MEAN_RATE_PER_S,
    wiki_share: float = WIKI_SHARE,
    wiki_work_s: float = WIKI_WORK_S,
    static_work_s: float = STATIC_WORK_S,
) -> Trace:
    """Draw the requests of [start_s, start_s + duration_s) of the week, on a clock from 0.

    Args:
        start_s: seconds from Monday 00:00 UTC; weeks repeat.
        mean_rate_per_s: mean over a weekday; a weekend day has WEEKEND of it.
        wiki_share: probability that a request is for a wiki page.
        wiki_work_s, static_work_s: mean service times on one core of speed 1.

    Raises:
        ValueError: for a negative or infinite time or rate, a share outside [0, 1], or a mean
            work that is not positive.
    """
    sizes = {"start_s": start_s, "duration_s": duration_s, "mean_rate_per_s": mean_rate_per_s}
    for name, value in sizes.items():
        if not 0.0 <= value < np.inf:
            raise ValueError(f"{name} is {value}; expected a finite, non-negative number")
    if not 0.0 <= wiki_share <= 1.0:
        raise ValueError(f"wiki_share is {wiki_share}; expected a number in [0, 1]")
    for name, value in {"wiki_work_s": wiki_work_s, "static_work_s": static_work_s}.items():
        if not 0.0 < value < np.inf:
            raise ValueError(f"{name} is {value}; expected a positive number")
    end_s = start_s + duration_s
    inner = np.arange(start_s // _CHUNK_S + 1, np.ceil(end_s / _CHUNK_S)) * _CHUNK_S
    edges = [start_s, *inner, end_s]
    time_s = np.concatenate(
        [
            first_s - start_s + _thinned(rng, first_s, last_s - first_s, mean_rate_per_s)
            for first_s, last_s in pairwise(edges)
        ]
    )
    kind = (rng.random(len(time_s)) < wiki_share).astype(np.int8)
    # The logarithm of the work is normal, with these means and sds by kind.
    spread = np.log1p([STATIC_SCV, WIKI_SCV])
    mean = np.log([static_work_s, wiki_work_s]) - spread / 2.0
    work_s = rng.standard_normal(len(time_s))
    work_s *= np.sqrt(spread).take(kind)
    work_s += mean.take(kind)
    columns = {
        "time_s": earlier_than(duration_s, time_s),
        "work_s": np.exp(work_s, out=work_s),
        "kind": kind,
    }
    return Trace(columns, float(duration_s))


def shape(time_s: float | np.ndarray) -> np.ndarray:
    """The rate over a weekday's mean, at seconds from Monday 00:00 UTC, any shape."""
    time_s = np.asarray(time_s, np.float64)
    angle = time_s * (2.0 * math.pi / DAY_S)
    cos, sin = np.cos(angle), np.sin(angle)
    # cos 2a = 1 - 2 sin^2 a and sin 2a = 2 sin a cos a spare half of the trigonometry.
    daily = 1.0 + 0.084 * cos - 0.228 * sin + 0.014 * (1.0 - 2.0 * sin * sin) + 0.156 * sin * cos
    return np.where(time_s % (7.0 * DAY_S) < 5.0 * DAY_S, daily, WEEKEND * daily)


def _thinned(
    rng: np.random.Generator, start_s: float, length_s: float, mean_rate_per_s: float
) -> np.ndarray:
    """Arrivals on [0, length_s), within one hour of the clock."""
    middle = float(shape(start_s + length_s / 2.0))
    swing = _STEEPEST_PER_S * length_s / 2.0
    low, high = middle - swing, middle + swing
    time_s = arrivals(rng, high * mean_rate_per_s, length_s)
    # A candidate stays with probability shape / high. Most stay without a look at the shape.
    level = high * rng.random(len(time_s))
    keep = level < low
    doubtful = np.flatnonzero(~keep)
    keep[doubtful] = level[doubtful] < shape(start_s + time_s[doubtful])
    return time_s[keep]
