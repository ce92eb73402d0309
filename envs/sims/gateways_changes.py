"""The compiled part of `gateways` that changes replicas while they serve: see `gateways`.

A replica that drains ends what it was given, and refuses more. One that comes back after that has
an empty cache, unless it still had something to do: then it just goes on.
"""

from numba import njit

from marlserve.envs.sims.gateways_arrays import DRAIN
from marlserve.envs.sims.replica_arrays import FAILED, REJECTED
from marlserve.envs.sims.replica_faults import stop
from marlserve.envs.sims.replica_kernel import settle


@njit(cache=True)
def change_replica(b, now_ns, change, index, state, rules, logs, log_lengths):
    """One change of a copy's replica, which was played to this time."""
    replicas, requests, nodes, blocks, table, running, held, rows = state
    r = change.replica
    e = replicas[b, r]
    if change.slowness == DRAIN:
        e.draining = True
        return
    e.down = change.slowness == 0.0
    if e.down or (e.draining and e.running + e.waiting == 0):
        index[b, :, :, r] = 0  # what starts anew tells its gateways that the cache is gone
        settle(
            e, rules[r], requests[b], nodes[b], blocks[b, r], table[b, r], running[b, r], held[b, r]
        )
        stop(
            *(e, now_ns, requests[b], blocks[b, r, : rules[r].num_blocks], table[b, r]),
            *(running[b, r], rows[b, r], logs[b], log_lengths[b : b + 1]),
        )
    e.draining = False
    if not e.down:
        e.slowness = change.slowness


@njit(cache=True)
def takes_requests(e):
    """Whether a replica is up, and does not drain."""
    return not (e.down or e.draining)


@njit(cache=True)
def refuse(request, e, now_ns):
    """A request that came to a replica that takes none is over: rejected by what drains, and failed
    where nothing is."""
    request.arrival_ns = request.last_token_ns = now_ns
    request.status = FAILED if e.down else REJECTED
