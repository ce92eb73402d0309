"""The compiled part of `replica`: the passes of one engine, one after the other.

A pass is decided as it starts; what it computes is there at its end. While nothing but decoding
goes on, its passes differ in their lengths alone: such a run of passes is played without a look at
the single requests, which `_settle` brings up to date when something else is to happen.

The functions are given one replica `e`, its `blocks`, the `table` that finds blocks by their keys,
the requests `running` in the order of their admission, the blocks `held` by row, the `rows` that
are free, and all `requests` of the copy with the `nodes` of their chains.
"""

import numpy as np
from numba import njit

from marlserve.envs.sims.replica_arrays import (
    COMPLETED,
    DECODE_RUN,
    FAILED,
    IDLE,
    NONE,
    PASS,
    REJECTED,
    RUNNING,
    WAITING,
)

_MS = 1e6  # nanoseconds
_INDEX_BITS = 24  # of a block within its request
_OWN = 1 << 62  # keys of blocks that no other request can have


@njit(cache=True)
def _pass_ns(timing, slowness, new, attention, sequences, context):
    """See `replica_timing.Timing`; each part is a whole number of nanoseconds."""
    total = np.int64(0)
    if new > 0:
        ms = timing[0] + timing[1] * new + timing[2] * new * new + timing[3] * attention
        total += np.int64(np.rint(ms * slowness * _MS))
    if sequences > 0:
        x = min(float(context), timing[9]) / timing[10]
        ms = timing[5] + timing[6] * x + timing[7] * x * x + timing[8] * sequences
        total += np.int64(np.rint(max(timing[4], ms) * slowness * _MS))
    return total


@njit(cache=True)
def _slot(key, mask):
    """Where the search for a key begins: Fibonacci hashing."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(32)) & mask


@njit(cache=True)
def _find(key, blocks, table):
    """The block that has held this for the longest time, or NONE."""
    mask = len(table) - 1
    i = _slot(key, mask)
    while table[i] != NONE:
        if blocks[table[i]].key == key:
            return table[i]
        i = (i + 1) & mask
    return NONE


@njit(cache=True)
def _publish(block, key, blocks, table):
    """From now on the block is found by its key, behind older ones of that key."""
    mask = len(table) - 1
    blocks[block].key, blocks[block].twin = key, NONE
    i = _slot(key, mask)
    while table[i] != NONE:
        older = table[i]
        if blocks[older].key == key:
            while blocks[older].twin != NONE:
                older = blocks[older].twin
            blocks[older].twin = block
            return
        i = (i + 1) & mask
    table[i] = block


@njit(cache=True)
def _forget(block, blocks, table):
    """The block is found no more; the next oldest of its key takes its place."""
    mask = len(table) - 1
    key = blocks[block].key
    blocks[block].key = NONE
    i = _slot(key, mask)
    while table[i] != block and blocks[table[i]].key != key:
        i = (i + 1) & mask
    if table[i] != block:
        older = table[i]
        while blocks[older].twin != block:
            older = blocks[older].twin
        blocks[older].twin = blocks[block].twin
        return
    if blocks[block].twin != NONE:
        table[i] = blocks[block].twin
        return
    j = i  # close the gap: whoever was pushed on by a full place moves up
    while True:
        j = (j + 1) & mask
        if table[j] == NONE:
            break
        home = _slot(blocks[table[j]].key, mask)
        if (j - home) & mask >= (j - i) & mask:
            table[i] = table[j]
            i = j
    table[i] = NONE


@njit(cache=True)
def _take_new(e, blocks, table):
    """A block that holds nothing: a free one, or else the one that was idle for longest."""
    if e.free != NONE:
        block = e.free
        e.free = blocks[block].after
        e.num_free -= 1
    elif e.num_free > 0:
        block = e.fresh
        e.fresh += 1
        e.num_free -= 1
    else:
        block = e.oldest
        _leave_idle(block, e, blocks)
        _forget(block, blocks, table)
    blocks[block].key = NONE
    blocks[block].references = 1
    return block


@njit(cache=True)
def _leave_idle(block, e, blocks):
    before, after = blocks[block].before, blocks[block].after
    if before == NONE:
        e.oldest = after
    else:
        blocks[before].after = after
    if after == NONE:
        e.newest = before
    else:
        blocks[after].before = before
    e.num_idle -= 1


@njit(cache=True)
def _give_back(q, e, requests, blocks, held, rows):
    """The blocks of a request from the last to the first, and its row."""
    request = requests[q]
    row = held[request.row]
    for i in range(request.blocks - 1, -1, -1):
        block = row[i]
        blocks[block].references -= 1
        if blocks[block].references > 0:
            continue
        if blocks[block].key == NONE:
            blocks[block].after = e.free
            e.free = block
            e.num_free += 1
            continue
        blocks[block].before, blocks[block].after = e.newest, NONE
        if e.newest == NONE:
            e.oldest = block
        else:
            blocks[e.newest].after = block
        e.newest = block
        e.num_idle += 1
    request.blocks = 0
    rows[e.running - 1] = request.row  # the caller takes it off the running ones
    e.stuck = 0


@njit(cache=True)
def _key(q, request, i, rules, nodes):
    """What block i of a request holds: a piece of its chain, or what it alone has."""
    end = (i + 1) * rules.block_tokens
    node = (end - 1) // rules.chain_tokens
    if end > request.prompt_tokens or node >= request.chain_length:
        return _OWN | (q << _INDEX_BITS) | i
    return (nodes[request.chain_start + node] << _INDEX_BITS) | i


@njit(cache=True)
def _grow(q, take, e, rules, requests, nodes, blocks, table, held):
    """The next tokens of a request get their blocks; full ones are found from now on."""
    request = requests[q]
    size = rules.block_tokens
    full = request.computed // size
    request.computed += take
    row = held[request.row]
    for i in range(request.blocks, (request.computed + size - 1) // size):
        row[i] = _take_new(e, blocks, table)
        request.blocks = i + 1
    if rules.prefix_caching:
        for i in range(full, request.computed // size):
            _publish(row[i], _key(q, request, i, rules, nodes), blocks, table)


@njit(cache=True)
def _missing(request, take, rules):
    """How many blocks the next tokens of a request need on top of its own."""
    size = rules.block_tokens
    return (request.computed + take + size - 1) // size - request.blocks


@njit(cache=True)
def _preempt(e, running, requests, blocks, held, rows):
    """The youngest request loses its blocks, and is the first in line."""
    q = running[e.running - 1]
    request = requests[q]
    _give_back(q, e, requests, blocks, held, rows)
    e.running -= 1
    request.computed, request.status = 0, WAITING
    request.next = e.first
    if e.waiting == 0:
        e.last = q
    e.first = q
    e.waiting += 1
    e.preemptions += 1
    return q


@njit(cache=True)
def _next_in_line(e, requests):
    q = e.first
    e.first = requests[q].next
    e.waiting -= 1
    if e.waiting == 0:
        e.first = e.last = NONE
    return q


@njit(cache=True)
def _admit(e, budget, rules, requests, nodes, blocks, table, running, held, rows):
    """Take up the first in line, if there is room for it.

    Returns the tokens that this pass computes of it; NONE if it has to wait, and 0 if it can never
    be served and is gone.
    """
    q = e.first
    request = requests[q]
    size = rules.block_tokens
    known = request.prompt_tokens + request.generated
    whole = (known + size - 1) // size
    if whole > rules.num_blocks:
        _next_in_line(e, requests)
        request.status = REJECTED if request.admissions == 0 else FAILED
        e.rejected += 1
        return 0
    row_number = rows[e.running]
    row = held[row_number]
    hits = in_use = 0
    if rules.prefix_caching:
        while hits < (known - 1) // size:
            block = _find(_key(q, request, hits, rules, nodes), blocks, table)
            if block == NONE:
                break
            in_use += blocks[block].references > 0
            row[hits] = block
            hits += 1
    take = min(known - hits * size, budget)
    if whole - in_use > e.num_free + e.num_idle or take == 0:
        return NONE
    for i in range(hits):
        if blocks[row[i]].references == 0:
            _leave_idle(row[i], e, blocks)
        blocks[row[i]].references += 1
    _next_in_line(e, requests)
    request.row, request.blocks, request.computed = row_number, hits, hits * size
    request.charged = min(request.computed, request.prompt_tokens)
    running[e.running] = q
    e.running += 1
    request.status = RUNNING
    if request.admissions == 0:
        request.admitted_ns = e.clock_ns
        e.prompt_tokens += request.prompt_tokens
        e.hit_tokens += hits * size
    request.admissions += 1
    request.reused_tokens = max(request.reused_tokens, hits * size)
    _grow(q, take, e, rules, requests, nodes, blocks, table, held)
    return take


@njit(cache=True)
def _start_pass(e, rules, timing, requests, nodes, blocks, table, running, held, rows):
    """Decide what the next pass computes: first the running requests, then those in line."""
    budget = rules.max_num_batched_tokens
    preempted = False
    i = 0
    while i < e.running and budget > 0:
        q = running[i]
        request = requests[q]
        take = min(request.prompt_tokens + request.generated - request.computed, budget)
        while _missing(request, take, rules) > e.num_free + e.num_idle:
            preempted = True
            if _preempt(e, running, requests, blocks, held, rows) == q:
                break
        if request.status == WAITING:
            break
        _grow(q, take, e, rules, requests, nodes, blocks, table, held)
        budget -= take
        i += 1
    while not preempted and e.waiting > 0 and e.running < rules.max_num_seqs:
        take = _admit(e, budget, rules, requests, nodes, blocks, table, running, held, rows)
        if take == NONE:
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
    e.pass_end_ns = e.clock_ns + _pass_ns(timing, e.slowness, new, attention, sequences, context)
    e.phase = PASS
    e.passes += 1


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
        if request.generated == request.output_tokens:
            first_done = min(first_done, i)
            request.last_token_ns = e.pass_end_ns
            request.status = COMPLETED
    e.clock_ns, e.phase = e.pass_end_ns, IDLE
    kept = first_done
    end = e.running
    for i in range(first_done, end):
        q = running[i]
        if requests[q].status == COMPLETED:
            _give_back(q, e, requests, blocks, held, rows)
            e.running -= 1
            e.completed += 1
            log[log_length[0]] = q
            log_length[0] += 1
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
def settle(e, rules, requests, nodes, blocks, table, running, held):
    """Bring the running requests up to date after a run of decoding passes."""
    under_way = e.phase == DECODE_RUN
    if e.run_done == 0 and not under_way:
        e.run_left = 0
        return
    for i in range(e.running):
        q = running[i]
        requests[q].generated += e.run_done
        _grow(q, e.run_done + under_way, e, rules, requests, nodes, blocks, table, held)
    e.output_tokens += e.run_done * e.running
    e.passes += e.run_done + under_way
    e.run_done = e.run_left = 0
    if under_way:
        e.phase = PASS


@njit(cache=True)
def advance(
    until_ns, e, rules, timing, requests, nodes, blocks, table, running, held, rows, log, log_length
):
    """Play one replica: passes that end by `until_ns` end, and those before it start."""
    while True:
        if e.phase != IDLE:
            if e.pass_end_ns > until_ns:
                return
            if e.phase == PASS:
                _end_pass(e, requests, blocks, running, held, rows, log, log_length)
            else:
                e.clock_ns, e.phase = e.pass_end_ns, IDLE
                e.run_done += 1
                e.run_left -= 1
        if (e.running == 0 and e.waiting == 0) or e.clock_ns >= until_ns or e.down:
            return
        if e.run_left == 0:
            settle(e, rules, requests, nodes, blocks, table, running, held)
            _plan_run(e, rules, requests, running)
        # The last pass of a run ends requests: it is played as any other.
        while e.run_left > 1 and e.clock_ns < until_ns:
            end_ns = e.clock_ns + _pass_ns(timing, e.slowness, 0, 0, e.running, e.run_tokens)
            e.run_tokens += e.running
            if end_ns > until_ns:
                e.pass_end_ns, e.phase = end_ns, DECODE_RUN
                break
            e.clock_ns = end_ns
            e.run_done += 1
            e.run_left -= 1
        if e.phase == IDLE and e.clock_ns < until_ns:
            settle(e, rules, requests, nodes, blocks, table, running, held)
            _start_pass(e, rules, timing, requests, nodes, blocks, table, running, held, rows)


@njit(cache=True)
def submit(q, now_ns, e, rules, requests, nodes, blocks, table, running, held):
    """A request joins the line of a replica that was advanced to `now_ns`."""
    request = requests[q]
    request.arrival_ns, request.status, request.next = now_ns, WAITING, NONE
    if e.phase == IDLE and e.running == 0 and e.waiting == 0:
        e.clock_ns = max(e.clock_ns, now_ns)
    if e.waiting == 0:
        e.first = q
        if e.running < rules.max_num_seqs:
            settle(e, rules, requests, nodes, blocks, table, running, held)
    else:
        requests[e.last].next = q
    e.last = q
    e.waiting += 1


@njit(cache=True)
def advance_all(until_ns, state, rules, timings, logs, log_lengths):
    """Play every replica of every copy until its copy's time."""
    replicas, requests, nodes, blocks, table, running, held, rows = state
    for b in range(replicas.shape[0]):
        for r in range(replicas.shape[1]):
            advance(
                *(until_ns[b], replicas[b, r], rules[r], timings[r], requests[b], nodes[b]),
                *(blocks[b, r], table[b, r], running[b, r], held[b, r], rows[b, r]),
                *(logs[b], log_lengths[b : b + 1]),
            )


@njit(cache=True)
def settle_all(state, rules):
    """Bring the requests of every replica up to date, and what is in use of its blocks."""
    replicas, requests, nodes, blocks, table, running, held, _ = state
    for b in range(replicas.shape[0]):
        for r in range(replicas.shape[1]):
            settle(
                *(replicas[b, r], rules[r], requests[b], nodes[b], blocks[b, r], table[b, r]),
                *(running[b, r], held[b, r]),
            )


@njit(cache=True)
def submit_all(chosen, now_ns, state, rules, num_submitted):
    """The next request of each copy joins the line of the replica chosen for it, unless NONE."""
    replicas, requests, nodes, blocks, table, running, held, _ = state
    for b in range(len(chosen)):
        r = chosen[b]
        if r == NONE:
            continue
        q = num_submitted[b]
        num_submitted[b] += 1
        requests[b, q].replica = r
        submit(
            *(q, now_ns[b], replicas[b, r], rules[r], requests[b], nodes[b]),
            *(blocks[b, r], table[b, r], running[b, r], held[b, r]),
        )


@njit(cache=True)
def play(chosen, arrivals_ns, state, rules, timings, logs, log_lengths, num_submitted):
    """All requests of every copy, at given times to given replicas, [B, N]."""
    now_ns = np.zeros(len(chosen), np.int64)
    for i in range(chosen.shape[1]):
        now_ns[:] = arrivals_ns[:, i]
        advance_all(now_ns, state, rules, timings, logs, log_lengths)
        submit_all(chosen[:, i], now_ns, state, rules, num_submitted)
