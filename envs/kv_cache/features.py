"""What the operator sees, and the running means that it needs for that.

Shares, scores and angles are shown as they are. Loads, seconds and prices x are shown as
x / (|x| + s): bounded, and finest where most values lie. All features are in [-1, 1].
"""

import numpy as np
from numba import njit

STATE_FEATURES = (
    "utilisation",  # servers that are busy, of all
    "waiting_ratio",  # requests that wait, of those that may
    "queue",  # waiting requests per server, s = 0.05
    "power",  # of the requests in service, of what full servers draw under the hungriest prompts
    "recent_wait",  # mean wait of those that left the queue, of the time-out; fades in a minute
    "recent_p95_latency",  # 95th percentile of seconds from arrival to completion; s = 20, fades
    "recent_score",  # mean quality of what completed, of the full cache's; fades
    "recent_losses",  # requests that timed out or failed, of those that arrived; fades
    "energy_price",  # $/MWh in force, over 100, cut off at -1 and 1
    "energy_price_level",  # the same, s = 50
    "energy_price_trend",  # $/MWh per hour, slope of the past half hour; s = 50
    "request_rate",  # arrivals of the last step as servers that they keep busy at full cache; s = 1
    "request_rate_mean",  # the same, over some five minutes
    "request_rate_trend",  # (last minute - last half hour) / their sum
    "time_of_day_sin",
    "time_of_day_cos",
    "day_of_week_sin",
    "day_of_week_cos",
)
FEATURES = (*STATE_FEATURES, "last_action")  # one place for each action, 1 at the last one

TRACKER = np.dtype(
    [(name, "f8") for name in ("minute", "minute_mass", "five", "five_mass", "half_hour")]
    + [(name, "f8") for name in ("half_hour_mass", "losses", "arrived")]
)
_KEPT_IN_A_SECOND = 0.5 ** (1.0 / np.array([30.0, 150.0, 900.0]))  # half-lives of three means
_DAY_S, _WEEK_S, _MONDAY_S = 86_400.0, 604_800.0, 345_600.0  # the epoch was on a Thursday


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


@njit(cache=True, inline="always")
def _shown(value, scale):
    return value / (abs(value) + scale)


@njit(cache=True)
def observe(out, scales, copies, steps, recent, tracker, prices, trends, index, start_s, actions):
    """Fill `out` [B, F]. `scales`: servers, most that wait, watts of all servers, the time-out, the
    longest latency, the full cache's score and its seconds of service, and the length of a step."""
    servers, most, full_w, timeout_s, longest_s, score, service_s, duration_s = scales
    for b in range(len(copies)):
        c, t, row = copies[b], tracker[b], out[b]
        row[0] = c.busy / servers
        row[1] = c.waiting / max(most, 1.0)
        row[2] = _shown(c.waiting / servers, 0.05)
        row[3] = min(c.power_w / full_w, 1.0)
        row[4] = min(c.recent_wait_s / (c.recent_waits + 1.0) / timeout_s, 1.0)
        row[5] = _shown(_percentile(recent[b], 0.95) * longest_s / len(recent[b]), 20.0)
        row[6] = min(c.recent_score / (c.recent_done + 1.0) / score, 1.0)
        row[7] = min(t.losses / (t.arrived + 1.0), 1.0)
        price = prices[index[b]]
        row[8] = max(min(price / 100.0, 1.0), -1.0)
        row[9] = _shown(price, 50.0)
        row[10] = _shown(trends[index[b]], 50.0)
        per_s = service_s / servers
        row[11] = _shown(steps[b].arrived / duration_s * per_s, 1.0)
        row[12] = _shown(t.five / max(t.five_mass, 1.0) * per_s, 1.0)
        fast, slow = t.minute / max(t.minute_mass, 1.0), t.half_hour / max(t.half_hour_mass, 1.0)
        row[13] = (fast - slow) / max(fast + slow, 1e-9)
        now_s = start_s[b] + c.clock_s
        day, week = 2 * np.pi * now_s / _DAY_S, 2 * np.pi * (now_s - _MONDAY_S) / _WEEK_S
        row[14], row[15], row[16], row[17] = np.sin(day), np.cos(day), np.sin(week), np.cos(week)
        row[18:] = 0.0
        if actions[b] >= 0:
            row[18 + actions[b]] = 1.0


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
