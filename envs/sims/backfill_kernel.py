"""The compiled part of `backfill`: starting the chosen job, and what happens until it can start.

At one moment jobs end before others arrive, and the chosen one starts before any is backfilled.
"""

import numpy as np

from marlserve.envs.sims.backfill_arrays import NONE, SHORTEST_S, compiled
from marlserve.envs.sims.backfill_events import add_wait, move, next_s_of, start

_EASY, _CONSERVATIVE = 1, 2


@compiled
def begin(b, state):
    """Play an empty cluster until its first job is there."""
    c = state.copies[b]
    c.first_s = c.step_s = state.jobs[b, 0].submit_s
    move(b, c.first_s, state)


@compiled
def step(chosen, rules, state):
    """In each copy, start the job in a slot of those shown, or, for NONE, wait; then play until
    there is a job to choose. Copies that are over stay as they are.

    Returns:
        the first copy whose slot has no job: no copy was played then; or NONE.
    """
    copies, visible, steps = state.copies, state.visible, state.steps
    for b in range(copies.shape[0]):
        if not (NONE <= chosen[b] < copies[b].shown or copies[b].over):
            return b
    for b in range(copies.shape[0]):
        c, s = copies[b], steps[b]
        if c.over:
            continue
        s.bounded_slowdown = s.slowdown = s.wait_s = s.started_run_s = 0.0
        c.step_s = c.clock_s
        if chosen[b] == NONE:  # until something happens, or for the rule's time at most
            move(b, min(next_s_of(b, state), c.clock_s + rules.wait_s), state)
        else:
            _start_chosen(b, visible[b, chosen[b]].job, rules, state)
        _until_one_waits(b, state)
        if c.clock_s > c.step_s:
            for i in range(c.waiting):
                add_wait(b, state.waiting[b, i], state)
    return NONE


@compiled
def foresee(copies, order, rules, state, ahead, totals):
    """Of these copies, the sum of bounded slowdowns, totals [B], if from now on of those that wait
    the one with the lowest order [B, J] was always started, of tied ones the one that came first.

    Args:
        ahead: arrays of one copy, to play on.
    """
    for b in copies:
        ahead.copies[0] = state.copies[b]
        for i in range(state.jobs.shape[1]):
            ahead.jobs[0, i], ahead.by_request[0, i] = state.jobs[b, i], state.by_request[b, i]
            ahead.waiting[0, i], ahead.used[0, i] = state.waiting[b, i], state.used[b, i]
            ahead.by_end[0, i], ahead.by_limit[0, i] = state.by_end[b, i], state.by_limit[b, i]
        _follow(order[b], rules, ahead)
        totals[b] = 0.0
        for job in ahead.jobs[0]:
            long_s = max(job.run_s, SHORTEST_S)
            totals[b] += max((job.end_s - job.submit_s) / long_s, 1.0)


@compiled
def _follow(order, rules, state):
    c, waiting = state.copies[0], state.waiting[0]
    while not c.over:
        first = waiting[0]
        for q in waiting[: c.waiting]:
            if order[q] < order[first]:
                first = q
        _start_chosen(0, first, rules, state)
        _until_one_waits(0, state)


@compiled
def _start_chosen(b, q, rules, state):
    c, n = state.copies[b], state.jobs[b, q].processors
    refused, shadow_s, spare = 0, -np.inf, 0
    while c.free < n:
        if rules.backfill == _EASY and c.free > 0:
            if c.clock_s > shadow_s:  # as jobs only come and are backfilled, a reservation stays
                refused, (shadow_s, spare) = 0, _reservation(b, n, state)
            spare = _beside(b, q, refused, shadow_s, spare, state)
            refused = c.waiting
        elif rules.backfill == _CONSERVATIVE:
            _conservative(b, q, state)
        free = c.free
        move(b, next_s_of(b, state), state)
        if c.free > free:
            shadow_s = -np.inf
    start(b, q, False, state)


@compiled
def backfill(b, q, rules, state):
    """Start those that may while the cluster is kept for job q, which cannot start yet; in one go
    what `_start_chosen` does from event to event."""
    if rules.backfill == _EASY and state.copies[b].free > 0:
        shadow_s, spare = _reservation(b, state.jobs[b, q].processors, state)
        _beside(b, q, 0, shadow_s, spare, state)
    elif rules.backfill == _CONSERVATIVE:
        _conservative(b, q, state)


@compiled
def _until_one_waits(b, state):
    c = state.copies[b]
    while c.waiting == 0 and c.next < state.jobs.shape[1]:
        move(b, next_s_of(b, state), state)
    if c.waiting == 0:
        c.over = 1


@compiled
def _reservation(b, n, state):
    """When by their limits enough of those that run will have ended for a job of n processors; and
    how many it leaves over then."""
    c, jobs, by_limit = state.copies[b], state.jobs, state.by_limit
    freed, shadow_s = c.free, np.inf
    for i in range(c.running):
        job = jobs[b, by_limit[b, i]]
        if job.limit_s > shadow_s:
            break
        freed += job.processors
        if freed >= n:
            shadow_s = min(shadow_s, max(job.limit_s, c.clock_s))
    return shadow_s, freed - n


@compiled
def _beside(b, q, refused, shadow_s, spare, state):
    """Start those that keep the chosen job from nothing: by their limits they end before it could
    start, or they take what is spare. First come, first served, after those that were refused
    before, and will be until a job ends. What is spare then."""
    c, jobs, waiting, i = state.copies[b], state.jobs, state.waiting, refused
    while i < c.waiting and c.free > 0:
        job = jobs[b, waiting[b, i]]
        in_time = c.clock_s + job.requested_s <= shadow_s
        fits = job.processors <= c.free and (in_time or job.processors <= spare)
        if waiting[b, i] == q or not fits:
            i += 1
            continue
        if not in_time:
            spare -= job.processors
        start(b, waiting[b, i], True, state)
    return spare


@compiled
def _conservative(b, q, state):
    """Plan all that wait by their limits, the chosen one first and then first come, first served,
    each as early as those before it allow; start those whose time is now."""
    c, jobs, waiting, by_limit = state.copies[b], state.jobs[b], state.waiting[b], state.by_limit[b]
    if c.free == 0:
        return
    times, free = state.limit_s, state.freed
    times[0], free[0], count = c.clock_s, c.free, 1
    for i in range(c.running):
        job = jobs[by_limit[i]]
        time_s = max(job.limit_s, np.nextafter(c.clock_s, np.inf))  # late ones may end any time
        if time_s > times[count - 1]:
            times[count], free[count] = time_s, free[count - 1]
            count += 1
        free[count - 1] += job.processors
    _, count = _plan(jobs[q].processors, jobs[q].requested_s, times, free, count)
    i = 0
    while i < c.waiting and c.free > 0:
        if waiting[i] == q:
            i += 1
            continue
        job = jobs[waiting[i]]
        start_s, count = _plan(job.processors, job.requested_s, times, free, count)
        if start_s == c.clock_s:
            start(b, waiting[i], True, state)
        else:
            i += 1


@compiled
def _plan(processors, requested_s, times, free, count):
    """When a job can start at the earliest, which takes its processors; and how many times there
    are then."""
    first, i = 0, 0
    while i < count and times[i] < times[first] + requested_s:
        if free[i] < processors:
            first = i + 1
        i += 1
    end_s = times[first] + requested_s
    last = first
    while last < count and times[last] < end_s:
        free[last] -= processors
        last += 1
    if last == count or times[last] > end_s:
        for i in range(count, last, -1):
            times[i], free[i] = times[i - 1], free[i - 1]
        times[last], free[last] = end_s, free[last - 1] + processors
        count += 1
    return times[first], count
