"""What the operator of a simulated site measures: `Measured`, from the arrays of its pool."""

import numpy as np
from numba import njit

from marlserve.envs.kv_cache.observation import Measured

TRACKER = np.dtype(
    [(name, "f8") for name in ("minute", "minute_mass", "five", "five_mass", "half_hour")]
    + [(name, "f8") for name in ("half_hour_mass", "losses", "arrived")]
)
_KEPT_IN_A_SECOND = 0.5 ** (1.0 / np.array([30.0, 150.0, 900.0]))  # half-lives of three means


@njit(cache=True)
def track(tracker, steps, duration_s):
    """Take the last step's arrivals and losses into the running means, after `advance`."""
    minute, five, half_hour = _KEPT_IN_A_SECOND**duration_s
    for b in range(len(tracker)):
        t, step = tracker[b], steps[b]
        rate_per_s = step.arrived / duration_s
        t.minute = t.minute * minute + rate_per_s
        t.minute_mass = t.minute_mass * minute + 1.0
        t.five = t.five * five + rate_per_s
        t.five_mass = t.five_mass * five + 1.0
        t.half_hour = t.half_hour * half_hour + rate_per_s
        t.half_hour_mass = t.half_hour_mass * half_hour + 1.0
        t.losses = t.losses * minute + step.timed_out + step.failed
        t.arrived = t.arrived * minute + step.arrived


def measure(
    copies: np.ndarray,
    steps: np.ndarray,
    recent: np.ndarray,
    tracker: np.ndarray,
    *,
    start_s: np.ndarray,
    duration_s: float,
    longest_s: float,
    usd_per_mwh: np.ndarray,
    usd_per_mwh_per_h: np.ndarray,
    last_action: np.ndarray,
) -> Measured:
    """The numbers of B copies, [B] each, in arrays of their own.

    Args:
        copies: state of the pool, `sims.serving_pool.COPY` [B].
        steps: what flowed in the last step, `sims.serving_pool.FLOWS` [B].
        recent: the pool's fading histograms of latencies, [B, bins] up to `longest_s`.
        tracker: `TRACKER` [B].
        start_s: when the episodes began, since the epoch, [B].
        duration_s: of a step.
        longest_s: latency that there can be.
        usd_per_mwh, usd_per_mwh_per_h: the price in force and its trend, [B].
        last_action: indices, [B].
    """
    measured = Measured(*np.empty((len(Measured._fields), len(copies))))
    measured.usd_per_mwh[:] = usd_per_mwh
    measured.usd_per_mwh_per_h[:] = usd_per_mwh_per_h
    measured.last_action[:] = last_action
    _measure(measured, copies, steps, recent, tracker, start_s, duration_s, longest_s)
    return measured


@njit(cache=True)
def _measure(measured, copies, steps, recent, tracker, start_s, duration_s, longest_s):
    m = measured
    for b in range(len(copies)):
        c, t = copies[b], tracker[b]
        m.time_s[b] = start_s[b] + c.clock_s
        m.busy_servers[b], m.waiting_requests[b], m.power_w[b] = c.busy, c.waiting, c.power_w
        m.recent_wait_s[b] = c.recent_wait_s / (c.recent_waits + 1.0)
        m.recent_p95_latency_s[b] = _percentile(recent[b], 0.95) * longest_s / len(recent[b])
        m.recent_score[b] = c.recent_score / (c.recent_done + 1.0)
        m.recent_loss_share[b] = t.losses / (t.arrived + 1.0)
        m.arrived_per_s[b] = steps[b].arrived / duration_s
        m.arrived_per_s_1min[b] = t.minute / max(t.minute_mass, 1.0)
        m.arrived_per_s_5min[b] = t.five / max(t.five_mass, 1.0)
        m.arrived_per_s_30min[b] = t.half_hour / max(t.half_hour_mass, 1.0)


@njit(cache=True)
def _percentile(histogram, share):
    """Where a fading histogram reaches this share, in bins; towards 0 as it fades away."""
    total = histogram.sum()
    if total == 0.0:
        return 0.0
    below = 0.0
    for i in range(len(histogram)):
        if below + histogram[i] >= share * total:
            return min(total, 1.0) * (i + (share * total - below) / histogram[i])
        below += histogram[i]
    return min(total, 1.0) * len(histogram)
