"""The compiled part of `replica` that plays all replicas of all copies, one after the other.

`state` is what `Replicas.arguments` begins with.
"""

import numpy as np
from numba import njit

from marlserve.envs.sims.replica_arrays import NONE
from marlserve.envs.sims.replica_kernel import advance, settle, submit


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
