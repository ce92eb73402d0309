"""The compiled part of `replica` that plays all replicas of all copies, one after the other.

`state` is what `Replicas.arguments` begins with.
"""

import numpy as np
from numba import njit

from marlserve.envs.sims.replica_arrays import IDLE, NONE
from marlserve.envs.sims.replica_kernel import advance, settle, submit


@njit(cache=True)
def advance_copy(b, until_ns, state, rules, timings, logs, log_lengths):
    """Play every replica of one copy until a time."""
    replicas, requests, nodes, blocks, table, running, held, rows = state
    for r in range(replicas.shape[1]):
        e = replicas[b, r]
        if e.phase == IDLE and e.running == 0 and e.waiting == 0:
            continue
        if e.phase != IDLE and e.pass_end_ns > until_ns:
            continue
        advance(
            *(until_ns, e, rules[r], timings[r], requests[b], nodes[b], blocks[b, r]),
            *(table[b, r], running[b, r], held[b, r], rows[b, r]),
            *(logs[b], log_lengths[b : b + 1]),
        )


@njit(cache=True)
def advance_all(until_ns, state, rules, timings, logs, log_lengths):
    """Play every replica of every copy until its copy's time."""
    for b in range(len(until_ns)):
        advance_copy(b, until_ns[b], state, rules, timings, logs, log_lengths)


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
        for b in range(len(now_ns)):
            now_ns[b] = arrivals_ns[b, i]
        advance_all(now_ns, state, rules, timings, logs, log_lengths)
        submit_all(chosen[:, i], now_ns, state, rules, num_submitted)
