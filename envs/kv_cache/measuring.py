"""What the operator of a simulated site measures: numbers from the arrays of its pool."""

import numpy as np
from numba import njit

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


@njit(cache=True)
def measure(numbers, pool, tracker, start_s, price, last_action, duration_s, longest_s):
    """Fill `numbers`, `observation.NUMBERS` [B].

    Args:
        numbers: to be filled.
        pool: its state `sims.serving_pool.COPY` [B], what flowed in the last step, `FLOWS` [B], and
            fading histograms of latencies, [B, bins] up to `longest_s`.
        tracker: `TRACKER` [B].
        start_s: when the episodes began, since the epoch, [B].
        price: in force, $/MWh, and its trend per hour, [B] each.
        last_action: indices, [B].
        duration_s: of a step.
        longest_s: latency that there can be.
    """
    copies, steps, recent = pool
    usd_per_mwh, usd_per_mwh_per_h = price
    for b in range(len(numbers)):
        m, c, t = numbers[b], copies[b], tracker[b]
        m.time_s = start_s[b] + c.clock_s
        m.busy_servers, m.waiting_requests, m.power_w = c.busy, c.waiting, c.power_w
        m.recent_wait_s = c.recent_wait_s / (c.recent_waits + 1.0)
        m.recent_p95_latency_s = _percentile(recent[b], 0.95) * longest_s / recent.shape[1]
        m.recent_score = c.recent_score / (c.recent_done + 1.0)
        m.recent_loss_share = t.losses / (t.arrived + 1.0)
        m.usd_per_mwh, m.usd_per_mwh_per_h = usd_per_mwh[b], usd_per_mwh_per_h[b]
        m.arrived_per_s = steps[b].arrived / duration_s
        m.arrived_per_s_1min = t.minute / max(t.minute_mass, 1.0)
        m.arrived_per_s_5min = t.five / max(t.five_mass, 1.0)
        m.arrived_per_s_30min = t.half_hour / max(t.half_hour_mass, 1.0)
        m.last_action = last_action[b]
