"""The compiled part of `backfill_grid`: clusters in one order of time, and jobs that are sent.

Cluster k of copy b is row b K + k of the arrays of `backfill_arrays.State`.
"""

from typing import NamedTuple

import numpy as np

from marlserve.envs.sims.backfill_arrays import NONE, compiled
from marlserve.envs.sims.backfill_events import (
    add_wait,
    add_wait_between,
    move,
    next_s_of,
    remove,
    start,
)
from marlserve.envs.sims.backfill_kernel import backfill

GRID = np.dtype([("clock_s", "f8"), ("over", "i8")])
MEMBER = np.dtype([(name, "i8") for name in ("kept", "asked", "count")] + [("backlog_s", "f8")])


class Grid(NamedTuple):
    """What clusters have beside their own arrays."""

    copies: np.ndarray  # GRID, [B]
    members: np.ndarray  # MEMBER, [B, K]
    legal: np.ndarray  # what may be done, [B, K, K, V] bool: first started, then sent to the next
    sizes: np.ndarray  # processors, [K]
    transfer_s: float  # until a job that is sent is there
    max_migrations: int  # of a job


@compiled
def begin(b, first_s, grid, rules, state):
    """Play empty clusters from the first submission on, until a scheduler has to decide."""
    grid.copies[b].clock_s, grid.copies[b].over = first_s, 0
    for k in range(len(grid.sizes)):
        c, member = state.copies[b * len(grid.sizes) + k], grid.members[b, k]
        c.clock_s = c.first_s = c.step_s = first_s
        member.kept, member.asked = NONE, 0
    _play(b, grid, rules, state)


@compiled
def step(actions, grid, rules, state):
    """Let those decide that are asked, [B, K]: V times 0 for a start, or times how many clusters
    further it is sent, and the slot; then play until somebody is asked.

    Copies that are over stay as they are.
    """
    slots, count = state.visible.shape[1], len(grid.sizes)
    for b in range(len(actions)):
        if grid.copies[b].over:
            continue
        for row in range(b * count, (b + 1) * count):
            s = state.steps[row]
            s.bounded_slowdown = s.slowdown = s.wait_s = s.started_run_s = 0.0
            state.copies[row].step_s = state.copies[row].clock_s
        for k in range(count):
            if grid.members[b, k].asked:
                _act(b, k, actions[b, k] // slots, actions[b, k] % slots, grid, rules, state)
        _play(b, grid, rules, state)
        for row in range(b * count, (b + 1) * count):
            for i in range(state.copies[row].waiting):
                add_wait(row, state.waiting[row, i], state)


@compiled
def look(first, last, grid, state):
    """What may be done and how much there is to do in each cluster, of copies first to last - 1."""
    for b in range(first, last):
        _look(b, grid, state)


@compiled
def _look(b, grid, state):
    grid.legal[b] = False
    for k in range(len(grid.sizes)):
        row, member = b * len(grid.sizes) + k, grid.members[b, k]
        member.backlog_s = _work(row, member.count, state) / grid.sizes[k]
        legal, shown = grid.legal[b, k], state.copies[row].shown
        if not member.asked:
            legal[0, 0] = True
            continue
        legal[0, 0] = member.kept != NONE  # also where the chosen job is not shown
        for slot in range(shown):
            q = state.visible[row, slot].job
            if member.kept == NONE:
                legal[0, slot] = True
            elif q == member.kept:
                legal[0, 0], legal[0, slot] = False, True
            for away in range(1, len(grid.sizes)):
                to = (k + away) % len(grid.sizes)
                legal[away, slot] = q != member.kept and _may_go(row, q, to, grid, state)


@compiled
def _work(row, count, state):
    """Seconds times processors, by limits: what runs, waits, and is on its way from elsewhere."""
    c, jobs, work = state.copies[row], state.jobs[row], 0.0
    for i in range(c.running):
        job = jobs[state.by_limit[row, i]]
        work += max(job.limit_s - c.clock_s, 0.0) * job.processors
    for i in range(c.waiting):
        job = jobs[state.waiting[row, i]]
        work += job.requested_s * job.processors
    for q in range(c.next, count):
        if jobs[q].been & (jobs[q].been - 1):  # it was in more than one
            work += jobs[q].requested_s * jobs[q].processors
    return work


@compiled
def _play(b, grid, rules, state):
    """Let all that happens at one time happen, in all clusters, time by time until one is asked."""
    g, members, first = grid.copies[b], grid.members[b], b * len(grid.sizes)
    while True:
        next_s, asked, left = np.inf, False, False
        for k in range(len(grid.sizes)):
            asked = asked or members[k].asked > 0
            left = left or state.copies[first + k].waiting > 0
            left = left or state.copies[first + k].next < members[k].count
            next_s = min(next_s, next_s_of(first + k, state))
        if not left:
            g.over = 1
        if not left or (asked and next_s > g.clock_s):
            break
        g.clock_s = next_s
        for k in range(len(grid.sizes)):
            if next_s_of(first + k, state) <= next_s:
                _happen(b, k, grid, rules, state)
    for k in range(len(grid.sizes)):
        state.copies[first + k].clock_s = g.clock_s


@compiled
def _happen(b, k, grid, rules, state):
    """What happens in a cluster now: jobs end and come; the chosen one starts, or some beside."""
    row, member = b * len(grid.sizes) + k, grid.members[b, k]
    c = state.copies[row]
    came = c.next
    move(row, grid.copies[b].clock_s, state)
    if member.kept == NONE:
        member.asked = c.waiting > 0
    elif c.free >= state.jobs[row, member.kept].processors:
        start(row, member.kept, False, state)
        member.kept, member.asked = NONE, c.waiting > 0
    else:
        backfill(row, member.kept, rules, state)
        if c.next > came:
            member.asked = _others_may_go(b, k, grid, state)


@compiled
def _act(b, k, away, slot, grid, rules, state):
    row, member = b * len(grid.sizes) + k, grid.members[b, k]
    c, q = state.copies[row], state.visible[row, slot].job
    if away > 0:
        _send(b, k, (k + away) % len(grid.sizes), q, grid, state)
        member.asked = c.waiting > 0 if member.kept == NONE else _others_may_go(b, k, grid, state)
    elif member.kept != NONE:  # all others stay, too
        member.asked = 0
    elif c.free >= state.jobs[row, q].processors:
        start(row, q, False, state)
        member.asked = c.waiting > 0
    else:
        member.kept, member.asked = q, 0
        backfill(row, q, rules, state)


@compiled
def _others_may_go(b, k, grid, state):
    """Whether a job that waits may be sent, other than the chosen one."""
    row = b * len(grid.sizes) + k
    for i in range(state.copies[row].waiting):
        q = state.waiting[row, i]
        for to in range(len(grid.sizes)):
            if q != grid.members[b, k].kept and _may_go(row, q, to, grid, state):
                return True
    return False


@compiled
def _may_go(row, q, to, grid, state):
    """Whether job q may be sent to a cluster: it fits, was not there, and may go once more."""
    job, moves = state.jobs[row, q], -1
    for k in range(len(grid.sizes)):
        moves += (job.been >> k) & 1
    there = (job.been >> to) & 1
    return job.processors <= grid.sizes[to] and there == 0 and moves < grid.max_migrations


@compiled
def _send(b, k, to, q, grid, state):
    """Job q, which waits in cluster k, goes; all of its way counts as waited at once."""
    row, there = b * len(grid.sizes) + k, b * len(grid.sizes) + to
    c, jobs, member = state.copies[row], state.jobs, grid.members[b, to]
    c.waiting -= 1
    remove(row, q, c.waiting, state.waiting)
    remove(row, q, c.waiting, state.by_request)
    came_s = c.clock_s + grid.transfer_s
    add_wait_between(row, q, c.clock_s, came_s, state)
    i = member.count  # among those that have not come yet
    while i > state.copies[there].next and jobs[there, i - 1].came_s > came_s:
        jobs[there, i] = jobs[there, i - 1]
        i -= 1
    jobs[there, i] = jobs[row, q]
    jobs[there, i].came_s = came_s
    jobs[there, i].been |= 1 << to
    member.count += 1
