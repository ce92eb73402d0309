"""What is shown of a cluster of `backfill`: jobs that may be chosen, and what is known of them."""

from marlserve.envs.sims.backfill_arrays import NONE, compiled


@compiled
def show(first, end, state):
    """Of the copies from `first` on, before `end`."""
    for b in range(first, end):
        _show(b, state)


@compiled
def _show(b, state):
    """Fill the slots with all that wait, or if these are too many, half of them with the oldest and
    half with the shortest of the others; in order of arrival."""
    c, jobs, visible = state.copies[b], state.jobs[b], state.visible[b]
    by_limit, used, freed, limit_s = state.by_limit[b], state.used[b], state.freed, state.limit_s
    clock_s, count = c.clock_s, min(c.waiting, len(visible))
    for k in range(count, c.shown):
        slot = visible[k]
        slot.job = NONE
        slot.wait_s = slot.requested_s = slot.processors = 0.0
        slot.start_in_s = slot.user_processors = slot.rejections = 0.0
    c.shown = count
    if c.waiting > count:
        _choose_some(b, state)
    else:
        for k in range(count):
            visible[k].job = state.waiting[b, k]
    freed[0], limit_s[0] = c.free, 0.0
    for i in range(c.running):
        job = jobs[by_limit[i]]
        freed[i + 1] = freed[i] + job.processors
        limit_s[i + 1] = max(job.limit_s - clock_s, 0.0)
    for k in range(count):
        slot = visible[k]
        job = jobs[slot.job]
        slot.wait_s = clock_s - job.submit_s
        slot.requested_s, slot.processors = job.requested_s, job.processors
        slot.user_processors = used[job.user] if job.user != NONE else 0
        slot.rejections = job.rejections
        limits = 0  # that pass until enough are free; to count all is faster than to stop there
        for i in range(c.running):
            limits += freed[i] < job.processors
        slot.start_in_s = limit_s[limits]


@compiled
def _choose_some(b, state):
    """For all slots, from more that wait: half of them the oldest, half the shortest of the
    others."""
    waiting, visible, is_short = state.waiting[b], state.visible[b], state.is_short
    count, waits = len(visible), state.copies[b].waiting
    old = (count + 1) // 2
    left, k = count - old, old
    for i in range(old, waits):
        is_short[waiting[i]] = False
    for i in range(waits):
        q = state.by_request[b, i]
        if left > 0 and q > waiting[old - 1]:  # jobs are numbered as they arrive
            is_short[q], left = True, left - 1
    for i in range(old):
        visible[i].job = waiting[i]
    for i in range(old, waits):
        if is_short[waiting[i]]:
            visible[k].job, k = waiting[i], k + 1
