"""What is shown of a cluster of `backfill`: jobs that may be chosen, and what is known of them."""

import numpy as np
from numba import njit

from marlserve.envs.sims.backfill_arrays import NONE


@njit(cache=True)
def show(first, end, state):
    """Of the copies from `first` on, before `end`."""
    for b in range(first, end):
        _show(b, state)


@njit(cache=True)
def _show(b, state):
    """Fill the slots with all that wait, or if these are too many, half of them with the oldest and
    half with the shortest of the others; in order of arrival."""
    c, jobs, by_limit, used = state.copies[b], state.jobs[b], state.by_limit[b], state.used[b]
    visible, chosen, clock_s = state.visible[b], state.waiting[b], c.clock_s
    freed, limit_s, count = state.freed, state.limit_s, min(c.waiting, len(state.visible[b]))
    for k in range(count, c.shown):
        slot = visible[k]
        slot.job = NONE
        slot.wait_s = slot.requested_s = slot.processors = 0.0
        slot.start_in_s = slot.user_processors = slot.rejections = 0.0
    c.shown = count
    if c.waiting > count:
        chosen = _some(chosen[: c.waiting], state.by_request[b], count)
    freed[0], limit_s[0] = c.free, 0.0
    for i in range(c.running):
        job = jobs[by_limit[i]]
        freed[i + 1] = freed[i] + job.processors
        limit_s[i + 1] = max(job.limit_s - clock_s, 0.0)
    for k in range(count):
        job, slot = jobs[chosen[k]], visible[k]
        slot.job, slot.wait_s = chosen[k], clock_s - job.submit_s
        slot.requested_s, slot.processors = job.requested_s, job.processors
        slot.user_processors = used[job.user] if job.user != NONE else 0
        slot.rejections = job.rejections
        i, n = 0, job.processors
        while freed[i] < n:
            i += 1
        slot.start_in_s = limit_s[i]


@njit(cache=True)
def _some(waiting, by_request, count):
    """So many of those that wait, half of them the oldest, half the shortest of the others."""
    old = (count + 1) // 2
    left, is_short = count - old, np.zeros(waiting[-1] + 1, np.bool_)
    for q in by_request[: len(waiting)]:
        if left > 0 and q > waiting[old - 1]:  # jobs are numbered as they arrive
            is_short[q], left = True, left - 1
    kept, k = waiting[:count].copy(), old
    for q in waiting[old:]:
        if is_short[q]:
            kept[k], k = q, k + 1
    return kept
