"""What happens in a cluster of `backfill`: jobs end, arrive and start, and their waits add up.

At one moment jobs end before others arrive. Which job starts is decided in `backfill_kernel`.
"""

import numpy as np

from marlserve.envs.sims.backfill_arrays import NONE, SHORTEST_S, compiled


@compiled
def next_s_of(b, state):
    """When the next job arrives or ends."""
    c, jobs, next_s = state.copies[b], state.jobs, np.inf
    if c.next < jobs.shape[1]:
        next_s = jobs[b, c.next].came_s
    if c.running > 0:
        next_s = min(next_s, jobs[b, state.by_end[b, c.running - 1]].end_s)
    return next_s


@compiled
def move(b, to_s, state):
    """Let the clock go on to a time before which nothing happens, and let happen what does then."""
    state.copies[b].clock_s = to_s
    _end(b, state)
    _arrive(b, state)


@compiled
def add_wait(b, q, state):
    """Add to the sums that a job has waited in this step, until now."""
    c = state.copies[b]
    add_wait_between(b, q, max(c.step_s, state.jobs[b, q].came_s), c.clock_s, state)


@compiled
def add_wait_between(b, q, since_s, until_s, state):
    """Add to the sums that a job waits from one time to another."""
    job, s, gone_s = state.jobs[b, q], state.steps[b], until_s - since_s
    s.wait_s += gone_s
    if job.run_s >= SHORTEST_S:
        s.bounded_slowdown += gone_s * job.per_s
        s.slowdown += gone_s * job.per_s
    else:  # its bounded slowdown counts once it has been there for so long
        before_s = since_s - job.submit_s + job.run_s - SHORTEST_S
        s.bounded_slowdown += (max(gone_s + before_s, 0.0) - max(before_s, 0.0)) * job.per_s
        s.slowdown += gone_s / job.run_s


@compiled
def _end(b, state):
    c, by_end = state.copies[b], state.by_end
    while c.running > 0 and state.jobs[b, by_end[b, c.running - 1]].end_s <= c.clock_s:
        c.running -= 1
        q = by_end[b, c.running]
        job = state.jobs[b, q]
        c.free += job.processors
        if job.user != NONE:
            state.used[b, job.user] -= job.processors
        remove(b, q, c.running, state.by_limit)


@compiled
def _arrive(b, state):
    c, jobs, by_request = state.copies[b], state.jobs, state.by_request
    while c.next < jobs.shape[1] and jobs[b, c.next].came_s <= c.clock_s:
        state.waiting[b, c.waiting], i = c.next, c.waiting
        requested_s = jobs[b, c.next].requested_s
        while i > 0 and jobs[b, by_request[b, i - 1]].requested_s > requested_s:
            by_request[b, i] = by_request[b, i - 1]
            i -= 1
        by_request[b, i] = c.next
        c.waiting += 1
        c.next += 1


@compiled
def start(b, q, backfilled, state):
    """Job q, which waits, starts now."""
    c, jobs, by_end, by_limit = state.copies[b], state.jobs, state.by_end, state.by_limit
    job = jobs[b, q]
    c.waiting -= 1
    remove(b, q, c.waiting, state.waiting)
    remove(b, q, c.waiting, state.by_request)
    add_wait(b, q, state)
    job.start_s, job.backfilled = c.clock_s, backfilled
    job.end_s, job.limit_s = c.clock_s + job.run_s, c.clock_s + job.requested_s
    c.free -= job.processors
    c.started += 1
    if job.user != NONE:
        state.used[b, job.user] += job.processors
    state.steps[b].started_run_s += job.run_s
    i = c.running  # by_end begins with the last one to end, by_limit with the first
    while i > 0 and jobs[b, by_end[b, i - 1]].end_s < job.end_s:
        by_end[b, i] = by_end[b, i - 1]
        i -= 1
    by_end[b, i] = q
    i = c.running
    while i > 0 and jobs[b, by_limit[b, i - 1]].limit_s > job.limit_s:
        by_limit[b, i] = by_limit[b, i - 1]
        i -= 1
    by_limit[b, i] = q
    c.running += 1


@compiled
def remove(b, q, left, order):
    """Job q leaves an order in which so many others are left: those after it move up."""
    i = 0
    while order[b, i] != q:
        i += 1
    while i < left:
        order[b, i] = order[b, i + 1]
        i += 1
