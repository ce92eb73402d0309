"""Means, differences and ratios with 95 % intervals, over training seeds crossed with episodes.

A learned policy is S training seeds, each of which played the same E episodes; a heuristic is one
row of them. What seed s got in episode e is taken for mean + seed_s + episode_e + rest_se, where
seeds and episodes are random and independent (Brennan 2001, "Generalizability Theory", the p x i
design). All policies play the same episodes, so that episode_e of two policies are pairs; their
seeds are not. The variance of a mean, or of what is linear in means, is

    A + B - C       A  of the seeds' means over S, summed over the policies
                    B  of the episodes' means over E, of what is linear in them
                    C  of the rest over S * E, which A and B both hold, summed over the policies

where B - C counts as 0 if it is negative, with the degrees of freedom of Satterthwaite (1946,
Biometrics Bulletin 2, p. 110), but not less than the least of the parts'. The interval is
Student's, on a scale on which it cannot leave the bounds of what it is of: the logarithm of what is
positive, the logit of what has two bounds, carried there and back by the delta method (Oehlert
1992, The American Statistician 46, p. 27).

Where a policy has fewer than `FEWEST` seeds there is no interval: low and high are then the lowest
and the highest that single seeds give.

docs/statistics.md has the coverage of all that, by simulation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

FEWEST = 5  # training seeds that an interval needs
_QUANTILE = 0.975

T = TypeVar("T")
Bounds = tuple[float, float]  # of a metric; infinite where it has none
NONE: Bounds = (-math.inf, math.inf)
POSITIVE: Bounds = (0.0, math.inf)


@dataclass(frozen=True, eq=False)
class Sample:
    """What one policy got."""

    values: NDArray[np.float64]  # [S, E]
    learned: bool  # its rows are training seeds; else there is one row

    @property
    def has_few_seeds(self) -> bool:
        return self.learned and len(self.values) < FEWEST


@dataclass(frozen=True)
class Estimate:
    """A value, and the ends of its 95 % interval, or of its range; NaN if there is neither."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """{"x": value, "x_low": low, "x_high": high} of the name "x"."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def mean(x: Sample, bounds: Bounds = NONE) -> Estimate:
    """The mean of a metric with these bounds."""
    return _estimate(lambda a: a, lambda a: (1.0,), (x,), bounds)


def difference(x: Sample, y: Sample, bounds: Bounds = NONE) -> Estimate:
    """The mean of x less that of y, both with these bounds."""
    if x is y:
        return Estimate(0.0, 0.0, 0.0)
    width = bounds[1] - bounds[0]
    return _estimate(lambda a, b: a - b, lambda a, b: (1.0, -1.0), (x, y), (-width, width))


def ratio(x: Sample, y: Sample) -> Estimate:
    """The mean of x over that of y.

    Raises:
        ValueError: if one of them, or of a single seed, is not positive.
    """
    for sample in (x, y):
        if not (least := sample.values.mean(axis=1).min()) > 0.0:
            raise ValueError(f"a mean is {least:g}; a ratio is of positive ones")
    if x is y:
        return Estimate(1.0, 1.0, 1.0)
    return _estimate(lambda a, b: a / b, lambda a, b: (1 / b, -a / b**2), (x, y), POSITIVE)


def share(x: Sample, floor: Sample, ceiling: Sample) -> Estimate:
    """Which part of the way from the mean of one policy to that of another x has gone; NaN if
    these two are not apart."""
    if not are_apart(floor, ceiling):
        return Estimate(math.nan, math.nan, math.nan)
    if x is floor or x is ceiling:
        there = float(x is ceiling)
        return Estimate(there, there, there)

    def value(a: float, low: float, high: float) -> float:
        return (a - low) / (high - low)

    def gradient(a: float, low: float, high: float) -> tuple[float, ...]:
        gone = value(a, low, high)
        return tuple(np.array([1.0, gone - 1.0, -gone]) / (high - low))

    return _estimate(value, gradient, (x, floor, ceiling), NONE)


def are_apart(x: Sample, y: Sample, bounds: Bounds = NONE) -> bool:
    """Whether the interval of the difference is on one side of 0; else the two are tied.

    Of few seeds it is whether the range is, and also the interval for just these seeds, over
    episodes.
    """
    if x is y:
        return False
    found = difference(x, y, bounds)
    if not (found.low > 0.0 or found.high < 0.0):
        return False
    if not (x.has_few_seeds or y.has_few_seeds):
        return True
    rows = [Sample(z.values.mean(axis=0, keepdims=True), learned=False) for z in (x, y)]
    error, freedom = standard_error((1.0, -1.0), rows)
    return abs(found.value) > stdtrit(freedom, _QUANTILE) * error


def of_draws(values: ArrayLike, bounds: Bounds = NONE) -> Estimate:
    """The mean of what was drawn anew each time, [n], as one value per training seed: Student's
    interval, or the range of fewer than `FEWEST`."""
    drawn = np.asarray(values, float)
    if len(drawn) < FEWEST:
        return Estimate(float(drawn.mean()), float(drawn.min()), float(drawn.max()))
    return mean(Sample(drawn[None, :], learned=False), bounds)


def ranks(ordered: Sequence[T], apart: Callable[[T, T], bool]) -> list[int]:
    """Of some things in the order of their means, the best first: one has the rank of the one
    before it if it is not apart from any that has that rank, or else its own place, from 1 on."""
    found: list[int] = []
    for place, thing in enumerate(ordered):
        group = [x for x, rank in zip(ordered, found, strict=False) if rank == found[-1]]
        joins = group and not any(apart(thing, x) for x in group)
        found.append(found[-1] if joins else place + 1)
    return found


def bounds_of(values: ArrayLike) -> Bounds:
    """The bounds that the values themselves suggest: [0, 1] if all are in it, else [0, inf) or
    (-inf, 0] if all have one sign, else none."""
    low, high = float(np.min(values)), float(np.max(values))
    if low >= 0.0:
        return (0.0, 1.0) if high <= 1.0 + 1e-9 else POSITIVE  # a fraction may be 1 + rounding
    return (-math.inf, 0.0) if high <= 0.0 else NONE


def by_window(values: NDArray[np.float64], windows: ArrayLike) -> NDArray[np.float64]:
    """[S, E] to [S, W]: episodes of one window are alike, and count as one.

    What a window adds to the sum of all, in such units that the mean over windows is that over
    episodes, however many each has (the linearised ratio estimator: Cochran 1977, "Sampling
    Techniques", 9A).

    Args:
        values: one row per training seed.
        windows: of each episode, [E].
    """
    _, window, sizes = np.unique(windows, return_inverse=True, return_counts=True)
    if len(sizes) == values.shape[1]:
        return values
    whole = values.mean()
    sums = (values - whole) @ np.eye(len(sizes))[window]  # [S, W]
    return whole + sums * len(sizes) / values.shape[1]


def standard_error(weights: Sequence[float], samples: Sequence[Sample]) -> tuple[float, float]:
    """Of the weighted sum of the samples' means: its standard error, and degrees of freedom.

    NaN if there is one episode, and no training seeds either.
    """
    count = samples[0].values.shape[1]
    seeds: list[tuple[float, int]] = []  # parts of A, and their degrees of freedom
    rest: list[tuple[float, int]] = []  # of C
    by_episode = np.zeros(count)
    for weight, sample in zip(weights, samples, strict=True):
        rows, columns = sample.values.mean(axis=1), sample.values.mean(axis=0)
        by_episode = by_episode + weight * columns
        if (num_seeds := len(rows)) > 1:
            seeds.append((weight**2 * rows.var(ddof=1) / num_seeds, num_seeds - 1))
            if count > 1:
                left = sample.values - rows[:, None] - columns + rows.mean()
                degrees = (num_seeds - 1) * (count - 1)
                square = (left**2).sum() / degrees
                rest.append((weight**2 * square / (num_seeds * count), degrees))
    parts = seeds
    if count > 1:
        paired = by_episode.var(ddof=1) / count  # B
        if paired >= _total(rest):
            parts = [*seeds, (paired, count - 1), *((-part, degrees) for part, degrees in rest)]
    if not parts:
        return math.nan, math.nan
    variance, squares = _total(parts), sum(part**2 / degrees for part, degrees in parts)
    if squares == 0.0:
        return 0.0, math.inf
    return math.sqrt(variance), max(variance**2 / squares, min(degrees for _, degrees in parts))


def _total(parts: Sequence[tuple[float, int]]) -> float:
    return sum(part for part, _ in parts)


def _estimate(
    value: Callable[..., float],
    gradient: Callable[..., Sequence[float]],
    samples: Sequence[Sample],
    bounds: Bounds,
) -> Estimate:
    """A function of the samples' means, whose gradient is known."""
    means = [float(sample.values.mean()) for sample in samples]
    found = value(*means)
    if any(sample.has_few_seeds for sample in samples):
        single = [value(*x) for x in product(*(s.values.mean(axis=1) for s in samples))]
        return Estimate(found, min(found, *single), max(found, *single))  # beside it by rounding
    error, freedom = standard_error(gradient(*means), samples)
    return _interval(found, error, freedom, bounds)


def _interval(value: float, error: float, freedom: float, bounds: Bounds) -> Estimate:
    low, high = bounds
    slack = 1e-9 * max(1.0, abs(value))
    if not low - slack <= value <= high + slack:
        raise ValueError(f"a mean is {value:g}, beside its bounds [{low:g}, {high:g}]")
    if error == 0.0 or not low < value < high:  # all values are the same
        return Estimate(value, value, value)
    reach = stdtrit(freedom, _QUANTILE) * error
    if math.isinf(low) and math.isinf(high):
        return Estimate(value, value - reach, value + reach)
    if math.isinf(high):
        factor = math.exp(min(reach / (value - low), 700.0))
        return Estimate(value, low + (value - low) / factor, low + (value - low) * factor)
    if math.isinf(low):
        mirrored = _interval(-value, error, freedom, (-high, math.inf))
        return Estimate(value, -mirrored.high, -mirrored.low)
    up, down = value - low, high - value
    factor = math.exp(min(reach * (1 / up + 1 / down), 700.0))  # of the odds
    width = high - low
    return Estimate(
        value, low + width * up / (up + down * factor), high - width * down / (down + up * factor)
    )
