"""The compiled part of `serving_pool`: one step of every copy, event by event.

Times are seconds since the episode began. Of events at the same instant, a server that becomes
free comes first, then a time-out, then an arrival: a request whose turn comes at its deadline is
served.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

COMPLETED, DENIED, FAILED, TIMED_OUT = range(4)
DENY = -1  # in place of a configuration
RECENT_BINS = 48

COPY = np.dtype(
    [(name, "f8") for name in ("clock_s", "power_w", "price_integral")]  # the last in $/MWh * s
    # Of requests that left the queue, and of completed ones; both fade with time.
    + [(name, "f8") for name in ("recent_wait_s", "recent_waits", "recent_score", "recent_done")]
    + [(name, "i8") for name in ("busy", "waiting", "head")]
)
REQUEST = np.dtype(
    [(name, "f8") for name in ("arrival_s", "start_s", "service_s", "energy_j", "score")]
    + [(name, "f8") for name in ("capped_cost", "price_integral")]  # the last as it began
    + [("config", "i8")]
)
FLOWS = np.dtype(
    [(name, "f8") for name in ("arrived", "completed", "denied", "failed", "timed_out")]
    + [(name, "f8") for name in ("score", "latency_s", "capped_cost")]  # of completed ones
    + [(name, "f8") for name in ("wait_s", "waits")]  # of those that left the queue
    + [(name, "f8") for name in ("busy_s", "queue_s", "request_j", "idle_j", "cost_usd")]
)
RECORD = np.dtype(
    [(name, "f8") for name in ("arrival_s", "start_s", "end_s", "energy_j", "score", "cost_usd")]
    + [("config", "i8"), ("outcome", "i8")]
)


class Rules(NamedTuple):
    """What does not change in an episode."""

    num_servers: int
    max_waiting: int
    timeout_s: float
    idle_w: float
    usd_per_j_and_price: float  # PUE / 3.6e9: a joule at the servers, at 1 $/MWh
    cost_cap_usd: float
    recent_s: float  # half-life of what is recent
    wait_bin_s: float
    latency_bin_s: float


@njit(cache=True)
def _push(finish_s, slot, size, time_s, place):
    """Put (time_s, place) into the heap of `size` entries. slot[size:] are the free places."""
    i = size
    while i > 0:
        parent = (i - 1) >> 1
        if finish_s[parent] <= time_s:
            break
        finish_s[i], slot[i] = finish_s[parent], slot[parent]
        i = parent
    finish_s[i], slot[i] = time_s, place


@njit(cache=True)
def _pop(finish_s, slot, size):
    """Take the earliest entry off the heap; its place becomes the first free one."""
    freed, last = slot[0], size - 1
    time_s, place = finish_s[last], slot[last]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            break
        if child + 1 < last and finish_s[child + 1] < finish_s[child]:
            child += 1
        if finish_s[child] >= time_s:
            break
        finish_s[i], slot[i] = finish_s[child], slot[child]
        i = child
    finish_s[i], slot[i] = time_s, place
    slot[last] = freed


@njit(cache=True)
def _write(logs, b, log_lengths, request, end_s, cost_usd, outcome):
    """Keep a record of a request that is over, if records are kept."""
    if logs.shape[1] == 0:
        return
    entry, served = logs[b, log_lengths[b]], outcome == COMPLETED
    log_lengths[b] += 1
    entry.arrival_s, entry.end_s = request.arrival_s, end_s
    entry.start_s = request.start_s if served else np.nan
    entry.energy_j = request.energy_j if served else 0.0
    entry.score = request.score if served else 0.0
    entry.cost_usd, entry.config, entry.outcome = cost_usd, request.config, outcome


@njit(cache=True)
def _leave_queue(wait_s, rules, c, step, waits):
    """Count the wait of a request that begins, or gives up."""
    step.wait_s += wait_s
    step.waits += 1
    c.recent_wait_s += wait_s
    c.recent_waits += 1
    waits[min(int(np.ceil(wait_s / rules.wait_bin_s)), len(waits) - 1)] += 1


@njit(cache=True)
def _begin(request, now_s, rules, c, step, running, finish_s, slot, waits):
    """A request begins on a free server."""
    _leave_queue(now_s - request.arrival_s, rules, c, step, waits)
    place = slot[c.busy]
    running[place] = request
    running[place].start_s = now_s
    running[place].price_integral = c.price_integral
    _push(finish_s, slot, c.busy, now_s + request.service_s, place)
    c.power_w += request.energy_j / request.service_s
    c.busy += 1


@njit(cache=True)
def _advance_copy(
    b, end_s, rules, profile, action, price, arrivals_s, prompts, c, step, arrays, logs, log_lengths
):
    running, finish_s, slot, queue, waits, latencies, recent = arrays
    running, finish_s, slot, queue = running[b], finish_s[b], slot[b], queue[b]
    waits, latencies, recent = waits[b], latencies[b], recent[b]
    service_s, energy_j, score = profile
    draft = queue[len(queue) - 1]  # never waits here: one place more than may wait
    draft.config, draft.start_s = action, np.nan
    next_arrival = 0
    while True:
        done_s = finish_s[0] if c.busy > 0 else np.inf
        late_s = queue[c.head].arrival_s + rules.timeout_s if c.waiting > 0 else np.inf
        due_s = arrivals_s[next_arrival] if next_arrival < len(arrivals_s) else np.inf
        now_s = min(done_s, late_s, due_s)
        over = now_s >= end_s
        if over:
            now_s = end_s
        passed_s = now_s - c.clock_s
        step.busy_s += c.busy * passed_s
        step.queue_s += c.waiting * passed_s
        step.request_j += c.power_w * passed_s
        c.price_integral += price * passed_s
        c.clock_s = now_s
        if over:
            return
        if done_s <= now_s:
            _pop(finish_s, slot, c.busy)
            c.busy -= 1
            request = running[slot[c.busy]]
            c.power_w -= request.energy_j / request.service_s
            if c.busy == 0:
                c.power_w = 0.0  # without what rounding left
            latency_s = now_s - request.arrival_s
            step.completed += 1
            step.score += request.score
            step.latency_s += latency_s
            step.capped_cost += request.capped_cost
            c.recent_score += request.score
            c.recent_done += 1
            i = min(int(np.ceil(latency_s / rules.latency_bin_s)), len(latencies) - 1)
            latencies[i] += 1
            recent[i * RECENT_BINS // len(latencies)] += 1
            paid = c.price_integral - request.price_integral  # at one joule a second
            cost_usd = rules.usd_per_j_and_price * request.energy_j / request.service_s * paid
            _write(logs, b, log_lengths, request, now_s, cost_usd, COMPLETED)
            if c.waiting > 0:
                first = queue[c.head]
                c.head = (c.head + 1) % (len(queue) - 1)
                c.waiting -= 1
                _begin(first, now_s, rules, c, step, running, finish_s, slot, waits)
        elif late_s <= now_s:
            first = queue[c.head]
            c.head = (c.head + 1) % (len(queue) - 1)
            c.waiting -= 1
            step.timed_out += 1
            _leave_queue(rules.timeout_s, rules, c, step, waits)
            _write(logs, b, log_lengths, first, now_s, 0.0, TIMED_OUT)
        else:
            prompt = prompts[next_arrival]
            next_arrival += 1
            step.arrived += 1
            draft.arrival_s = now_s
            if action == DENY:
                step.denied += 1
                _write(logs, b, log_lengths, draft, now_s, 0.0, DENIED)
                continue
            if c.busy == rules.num_servers and c.waiting == rules.max_waiting:
                step.failed += 1
                _write(logs, b, log_lengths, draft, now_s, 0.0, FAILED)
                continue
            draft.service_s, draft.energy_j = service_s[action, prompt], energy_j[action, prompt]
            draft.score = score[action, prompt]
            cost_usd = rules.usd_per_j_and_price * draft.energy_j * price
            draft.capped_cost = min(cost_usd / rules.cost_cap_usd, 1.0)
            if c.busy < rules.num_servers:
                _begin(draft, now_s, rules, c, step, running, finish_s, slot, waits)
            else:
                queue[(c.head + c.waiting) % (len(queue) - 1)] = draft
                c.waiting += 1


@njit(cache=True)
def advance(duration_s, rules, profile, actions, price, arrivals, flows, arrays, logs):
    """One step of all copies; `serving_pool.ServingPool` says what the arrays are.

    Returns -1, or a copy whose arrivals are not within the step; then nothing is played.
    """
    arrivals_s, prompts, num_arrivals = arrivals
    copies, steps, step_values, total_values = flows
    for b in range(len(copies)):
        begin_s, last = copies[b].clock_s, num_arrivals[b] - 1
        if (
            last >= 0
            and not begin_s <= arrivals_s[b, 0] <= arrivals_s[b, last] < begin_s + duration_s
        ):
            return b
    logs, log_lengths = logs
    recent = arrays[-1]
    fade = 0.5 ** (duration_s / rules.recent_s)
    for b in range(len(copies)):
        c, step = copies[b], steps[b]
        step_values[b] = 0.0
        for i in range(recent.shape[1]):
            recent[b, i] *= fade
        c.recent_wait_s *= fade
        c.recent_waits *= fade
        c.recent_score *= fade
        c.recent_done *= fade
        log_lengths[b] = 0
        _advance_copy(
            *(b, c.clock_s + duration_s, rules, profile, actions[b], price[b]),
            *(arrivals_s[b, : num_arrivals[b]], prompts[b], c, step, arrays, logs, log_lengths),
        )
        step.idle_j = (rules.num_servers * duration_s - step.busy_s) * rules.idle_w
        energy_j = step.request_j + step.idle_j
        step.cost_usd = rules.usd_per_j_and_price * energy_j * price[b]
        for i in range(total_values.shape[1]):  # whole arrays take numba seconds more to compile
            total_values[b, i] += step_values[b, i]
    return -1
