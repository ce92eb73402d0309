"""The compiled part of `replica`: the passes of one engine, one after the other.

A pass is decided as it starts; what it computes is there at its end. While nothing but decoding
goes on, its passes differ in their lengths alone: such a run of passes is played without a look at
the single requests, which `settle` brings up to date when something else is to happen.

The functions are given one replica `e`, its `blocks`, the `table` that finds blocks by their keys,
the requests `running` in the order of their admission, the blocks `held` by row, the `rows` that
are free, and all `requests` of the copy with the `nodes` of their chains.
"""

from numba import njit

from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.replica_blocks import (
    expected_hits,
    find,
    give_back,
    grow,
    key_of,
    leave_idle,
    missing,
)
from marlserve.envs.sims.replica_timing import pass_ns


@njit(cache=True)
def _preempt(e, running, requests, blocks, held, rows):
    """The youngest request loses its blocks, and is the first in line."""
    q = running[e.running - 1]
    request = requests[q]
    give_back(q, e, requests, blocks, held, rows)
    e.running -= 1
    request.computed, request.status = 0, has.WAITING
    request.next = e.first
    if e.waiting == 0:
        e.last = q
    e.first = q
    e.waiting += 1
    e.preemptions += 1
    return q


@njit(cache=True)
def _next_in_line(e, requests):
    e.first = requests[e.first].next
    e.waiting -= 1
    if e.waiting == 0:
        e.first = e.last = has.NONE


@njit(cache=True)
def _admit(e, budget, rules, requests, nodes, blocks, table, running, held, rows, log, log_length):
    """Take up the first in line, if there is room for it.

    Returns the tokens that this pass computes of it; `NONE` if it has to wait, and 0 if it can
    never be served and is gone.
    """
    q, size = e.first, rules.block_tokens
    request = requests[q]
    known = request.prompt_tokens + request.generated
    whole = (known + size - 1) // size
    if whole > rules.num_blocks:
        _next_in_line(e, requests)
        request.status = has.REJECTED if request.admissions == 0 else has.FAILED
        request.last_token_ns = e.clock_ns
        e.rejected += 1
        tell(has.END, q, log, log_length)
        return 0
    row_number = rows[e.running]
    row = held[row_number]
    hits = in_use = 0
    if rules.prefix_caching:
        while hits < (known - 1) // size:
            block = find(key_of(q, request, hits, rules, nodes), blocks, table)
            if block == has.NONE:
                break
            in_use += blocks[block].references > 0
            row[hits] = block
            hits += 1
    take = min(known - hits * size, budget)
    if whole - in_use > e.num_free + e.num_idle or take == 0:
        return has.NONE
    for i in range(hits):
        if blocks[row[i]].references == 0:
            leave_idle(row[i], e, blocks)
        blocks[row[i]].references += 1
    _next_in_line(e, requests)
    request.row, request.blocks, request.computed = row_number, hits, hits * size
    request.charged = min(request.computed, request.prompt_tokens)
    running[e.running] = q
    e.running += 1
    request.status = has.RUNNING
    if request.admissions == 0:
        request.admitted_ns = e.clock_ns
        e.prompt_tokens += request.prompt_tokens
        request.hit_tokens = hits * size
        e.hit_tokens += request.hit_tokens
    request.admissions += 1
    request.reused_tokens = max(request.reused_tokens, hits * size)
    grow(q, take, e, rules, requests, nodes, blocks, table, held)
    return take


@njit(cache=True)
def _start_pass(
    e, rules, timing, requests, nodes, blocks, table, running, held, rows, log, log_length
):
    """Decide what the next pass computes: first the running requests, then those in line."""
    budget = rules.max_num_batched_tokens
    preempted = False
    i = 0
    while i < e.running and budget > 0:
        q = running[i]
        request = requests[q]
        take = min(request.prompt_tokens + request.generated - request.computed, budget)
        while missing(request, take, rules) > e.num_free + e.num_idle:
            preempted = True
            if _preempt(e, running, requests, blocks, held, rows) == q:
                break
        if request.status == has.WAITING:
            break
        grow(q, take, e, rules, requests, nodes, blocks, table, held)
        budget -= take
        i += 1
    while not preempted and e.waiting > 0 and e.running < rules.max_num_seqs:
        take = _admit(
            *(e, budget, rules, requests, nodes, blocks, table, running, held, rows),
            *(log, log_length),
        )
        if take == has.NONE:
            break
        budget -= take
    prompts = before = after = attention = 0  # prompts in the pass, and their tokens
    sequences = context = 0
    for i in range(e.running):
        request = requests[running[i]]
        there = request.charged
        request.charged = min(request.computed, request.prompt_tokens)
        new = request.charged - there
        if new > 0:
            prompts += 1
            before += there
            after += request.charged
            attention += new * there + new * new // 2
        known = request.prompt_tokens + request.generated
        if request.computed == known and request.generated > 0:
            sequences += 1
            context += known
    # Such a pass again, in which each decodes one token, admits nobody before something ends.
    alone = sequences == e.running and budget == rules.max_num_batched_tokens - e.running
    e.stuck = e.waiting > 0 and alone and not preempted
    new = prompts * (after // prompts - before // prompts) if prompts > 0 else 0
    e.pass_end_ns = e.clock_ns + pass_ns(timing, e.slowness, new, attention, sequences, context)
    e.phase = has.PASS
    e.passes += 1


@njit(cache=True)
def tell(event, q, log, log_length):
    log[log_length[0]] = 2 * q + event
    log_length[0] += 1


@njit(cache=True)
def _end_pass(e, requests, blocks, running, held, rows, log, log_length):
    """Whoever has all its tokens computed gets the next one, and is done if it was the last."""
    first_done = e.running
    for i in range(e.running):
        request = requests[running[i]]
        if request.computed < request.prompt_tokens + request.generated:
            continue
        if request.generated < request.output_tokens:
            request.generated += 1
            e.output_tokens += 1
            if request.generated == 1:
                request.first_token_ns = e.pass_end_ns
                tell(has.FIRST_TOKEN, running[i], log, log_length)
        if request.generated == request.output_tokens:
            first_done = min(first_done, i)
            request.last_token_ns, request.status = e.pass_end_ns, has.COMPLETED
    e.clock_ns, e.phase = e.pass_end_ns, has.IDLE
    kept, end = first_done, e.running
    for i in range(first_done, end):
        q = running[i]
        if requests[q].status == has.COMPLETED:
            give_back(q, e, requests, blocks, held, rows)
            e.running -= 1
            e.completed += 1
            tell(has.END, q, log, log_length)
        else:
            running[kept] = q
            kept += 1


@njit(cache=True)
def _plan_run(e, rules, requests, running):
    """How many passes can be played in which all running requests decode, and nothing else."""
    e.run_done = e.run_left = 0
    if e.running == 0 or e.running > rules.max_num_batched_tokens:
        return
    if e.waiting > 0 and not e.stuck and e.running < rules.max_num_seqs:
        return
    left = 1 << 62
    tokens = 0
    for i in range(e.running):
        request = requests[running[i]]
        known = request.prompt_tokens + request.generated
        if request.computed != known - 1 or request.generated == 0:
            return
        left = min(left, request.output_tokens - request.generated)
        tokens += known
    # In n passes each needs at most n // block_tokens + 1 new blocks; all must be there.
    room = (e.num_free + e.num_idle) // e.running
    e.run_left = max(min(left, room * rules.block_tokens - 1), 0)
    e.run_tokens = tokens


@njit(cache=True)
def blocks_in_use(e, rules, requests, running):
    """By running requests, with those that they took in a run of decoding passes."""
    used = rules.num_blocks - e.num_free - e.num_idle
    passes = e.run_done + (e.phase == has.DECODE_RUN)
    if passes > 0:
        for i in range(e.running):
            used += missing(requests[running[i]], passes, rules)
    return used


@njit(cache=True)
def settle(e, rules, requests, nodes, blocks, table, running, held):
    """Bring the running requests up to date after a run of decoding passes."""
    under_way = e.phase == has.DECODE_RUN
    e.run_left = 0
    if e.run_done == 0 and not under_way:
        return
    for i in range(e.running):
        q = running[i]
        requests[q].generated += e.run_done
        grow(q, e.run_done + under_way, e, rules, requests, nodes, blocks, table, held)
    e.output_tokens += e.run_done * e.running
    e.passes += e.run_done + under_way
    e.run_done = 0
    if under_way:
        e.phase = has.PASS


@njit(cache=True)
def advance(
    until_ns, e, rules, timing, requests, nodes, blocks, table, running, held, rows, log, log_length
):
    """Play one replica: passes that end by `until_ns` end, and those before it start."""
    while True:
        if e.phase != has.IDLE:
            if e.pass_end_ns > until_ns:
                return
            if e.phase == has.PASS:
                _end_pass(e, requests, blocks, running, held, rows, log, log_length)
            else:
                e.clock_ns, e.phase = e.pass_end_ns, has.IDLE
                e.run_done += 1
                e.run_left -= 1
        if (e.running == 0 and e.waiting == 0) or e.clock_ns >= until_ns or e.down:
            return
        if e.run_left == 0:
            settle(e, rules, requests, nodes, blocks, table, running, held)
            _plan_run(e, rules, requests, running)
        # The last pass of a run ends requests: it is played as any other.
        while e.run_left > 1 and e.clock_ns < until_ns:
            end_ns = e.clock_ns + pass_ns(timing, e.slowness, 0, 0, e.running, e.run_tokens)
            e.run_tokens += e.running
            if end_ns > until_ns:
                e.pass_end_ns, e.phase = end_ns, has.DECODE_RUN
                break
            e.clock_ns = end_ns
            e.run_done += 1
            e.run_left -= 1
        if e.phase == has.IDLE and e.clock_ns < until_ns:
            settle(e, rules, requests, nodes, blocks, table, running, held)
            _start_pass(
                *(e, rules, timing, requests, nodes, blocks, table, running, held, rows),
                *(log, log_length),
            )


@njit(cache=True)
def submit(q, now_ns, e, rules, requests, nodes, blocks, table, running, held):
    """A request joins the line of a replica that was advanced to `now_ns`."""
    request = requests[q]
    request.arrival_ns, request.status, request.next = now_ns, has.WAITING, has.NONE
    settle(e, rules, requests, nodes, blocks, table, running, held)
    request.expected_hits = expected_hits(q, rules, requests, nodes, blocks, table)
    if e.phase == has.IDLE and e.running == 0 and e.waiting == 0:
        e.clock_ns = max(e.clock_ns, now_ns)
    if e.waiting == 0:
        e.first = q
    else:
        requests[e.last].next = q
    e.last = q
    e.waiting += 1
