"""Arrivals in bursts: a Poisson process whose rate jumps between a calm and a bursty level.

    traces.load("bursts", rng, rate_per_s=700.0, duration_s=60.0, burst_factor=4.0)

Columns: time_s; work_s, as of the trace "poisson". How long calm and bursts last is exponential:
this is the Markov-modulated Poisson process of two states. Over a window that is long beside
them, the variance of the number of arrivals is `dispersion` times its mean, which for a Poisson
process is 1.

Reference: Fischer, Meier-Hellstern: The Markov-modulated Poisson process (MMPP) cookbook,
Performance Evaluation 18, 1993.
"""

import numpy as np

from marlserve.traces.base import Trace
from marlserve.traces.poisson import arrivals, draw_work

COLUMNS = ("time_s", "work_s")


def load(
    rng: np.random.Generator,
    *,
    rate_per_s: float,
    duration_s: float,
    burst_factor: float = 4.0,
    burst_share: float = 0.2,
    mean_burst_s: float = 2.0,
    mean_work_s: float = 0.1,
    work_law: str = "exponential",
    work_scv: float | None = None,
    phase_ends_s: np.ndarray | None = None,
) -> Trace:
    """Draw a trace of `duration_s` seconds from `rng`.

    Args:
        rate_per_s: arrivals in a second, over calm and bursts.
        burst_factor: rate in a burst, in rates of the calm.
        burst_share: share of the time that is bursts; also the chance that it begins in one.
        mean_burst_s: how long a burst lasts.
        mean_work_s, work_law, work_scv: as for "poisson".
        phase_ends_s: by `draw_phase_ends_s`, for a process that this trace is a stretch of, on
            the trace's clock; drawn anew by default.

    Raises:
        ValueError: for a factor below 1, a share that is not between 0 and 1, a mean burst that is
            not positive, and as for "poisson".
    """
    calm_per_s, burst_per_s = phase_rates_per_s(rate_per_s, burst_factor, burst_share)
    # The excess of bursts is a Poisson process of its own, of which calm times see nothing.
    calm_s = arrivals(rng, calm_per_s, duration_s)
    excess_s = arrivals(rng, burst_per_s - calm_per_s, duration_s)
    if phase_ends_s is None:
        phase_ends_s = draw_phase_ends_s(
            rng, duration_s, burst_share=burst_share, mean_burst_s=mean_burst_s
        )
    in_burst = np.searchsorted(phase_ends_s, excess_s, side="right") % 2 == 1
    time_s = np.sort(np.concatenate([calm_s, excess_s[in_burst]]))
    work_s = draw_work(rng, len(time_s), mean_work_s, work_law, work_scv)
    return Trace({"time_s": time_s, "work_s": work_s}, float(duration_s))


def phase_rates_per_s(
    rate_per_s: float, burst_factor: float, burst_share: float
) -> tuple[float, float]:
    """Arrivals in a second of the calm, and of a burst; errors as for `load`."""
    if not 0.0 <= rate_per_s < np.inf:
        raise ValueError(f"rate_per_s is {rate_per_s}; expected a finite, non-negative number")
    if not 1.0 <= burst_factor < np.inf:
        raise ValueError(f"burst_factor is {burst_factor}; expected a number of at least 1")
    if not 0.0 < burst_share < 1.0:
        raise ValueError(f"burst_share is {burst_share}; expected a number between 0 and 1")
    calm_per_s = rate_per_s / (1.0 - burst_share + burst_share * burst_factor)
    return calm_per_s, calm_per_s * burst_factor


def dispersion(
    rate_per_s: float, burst_factor: float, burst_share: float, mean_burst_s: float
) -> float:
    """Variance over mean of the number of arrivals in a long window; the cookbook's formula."""
    calm_per_s, burst_per_s = phase_rates_per_s(rate_per_s, burst_factor, burst_share)
    leaves_burst = 1.0 / mean_burst_s
    leaves_calm = leaves_burst * burst_share / (1.0 - burst_share)
    product = leaves_burst * leaves_calm
    flow = calm_per_s * leaves_burst + burst_per_s * leaves_calm
    return 1.0 + 2.0 * (burst_per_s - calm_per_s) ** 2 * product / (
        (leaves_burst + leaves_calm) ** 2 * flow
    )


def draw_phase_ends_s(
    rng: np.random.Generator,
    duration_s: float,
    *,
    burst_share: float = 0.2,
    mean_burst_s: float = 2.0,
) -> np.ndarray:
    """When calm ends, then the burst, then the next calm ...: sorted, beyond `duration_s`.

    Raises:
        ValueError: for a mean burst that is not positive.
    """
    if not 0.0 < mean_burst_s < np.inf:
        raise ValueError(f"mean_burst_s is {mean_burst_s}; expected a positive number")
    mean_calm_s = mean_burst_s * (1.0 - burst_share) / burst_share
    means, ends, clock_s = (mean_calm_s, mean_burst_s), [], 0.0
    if rng.random() < burst_share:
        ends.append(0.0)  # of no calm at all
    while clock_s <= duration_s:
        clock_s += rng.exponential(means[len(ends) % 2])
        ends.append(clock_s)
    return np.array(ends)
