"""The compiled part of `replica` that keeps the blocks of one engine.

A block is free, in use by as many running requests as `references` says, or idle: it holds what may
be used again, in a list from the one that was idle for longest. A cached block is found in an open
hash `table` by its key, which stands for all tokens up to its end; blocks of the same key form a
chain from the oldest on.
"""

import numpy as np
from numba import njit

from marlserve.envs.sims.replica_arrays import NONE

_INDEX_BITS = 24  # of a block within its request
_OWN = 1 << 62  # keys of blocks that no other request can have


@njit(cache=True)
def _slot(key, mask):
    """Where the search for a key begins: Fibonacci hashing."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(32)) & mask


@njit(cache=True)
def find(key, blocks, table):
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
def take_new(e, blocks, table):
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
        leave_idle(block, e, blocks)
        _forget(block, blocks, table)
    blocks[block].key = NONE
    blocks[block].references = 1
    return block


@njit(cache=True)
def leave_idle(block, e, blocks):
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
def key_of(q, request, i, rules, nodes):
    """What block i of a request holds: a piece of its chain, or what it alone has."""
    end = (i + 1) * rules.block_tokens
    node = (end - 1) // rules.chain_tokens
    if end > request.prompt_tokens or node >= request.chain_length:
        return _OWN | (q << _INDEX_BITS) | i
    return (nodes[request.chain_start + node] << _INDEX_BITS) | i


@njit(cache=True)
def grow(q, take, e, rules, requests, nodes, blocks, table, held):
    """The next tokens of a request get their blocks; full ones are found from now on."""
    request = requests[q]
    size = rules.block_tokens
    full = request.computed // size
    request.computed += take
    row = held[request.row]
    for i in range(request.blocks, (request.computed + size - 1) // size):
        row[i] = take_new(e, blocks, table)
        request.blocks = i + 1
    if rules.prefix_caching:
        for i in range(full, request.computed // size):
            _publish(row[i], key_of(q, request, i, rules, nodes), blocks, table)


@njit(cache=True)
def missing(request, take, rules):
    """How many blocks the next tokens of a request need on top of its own."""
    size = rules.block_tokens
    return (request.computed + take + size - 1) // size - request.blocks


@njit(cache=True)
def give_back(q, e, requests, blocks, held, rows):
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
def expected_hits(q, rules, requests, nodes, blocks, table):
    """Tokens of a request that are in the cache, if all before a cached block are in it too."""
    if not rules.prefix_caching:
        return 0
    request = requests[q]
    low, high = 0, (request.prompt_tokens + request.generated - 1) // rules.block_tokens
    while low < high:
        middle = (low + high) // 2
        if find(key_of(q, request, middle, rules, nodes), blocks, table) == NONE:
            high = middle
        else:
            low = middle + 1
    return low * rules.block_tokens
