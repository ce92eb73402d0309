"""The compiled event loop of `marlserve.envs.sims.cluster`, and all that it calls: a cached numba
kernel does not notice an edit elsewhere.

A server with c cores and speed s shares itself equally among its n running jobs: each proceeds
at rate s * min(1, c / n). Its *virtual time* V is the work that one job would have received since
the server last stood empty, so a job that starts when V = v and needs w seconds of work finishes
when V = v + w: the order of completions needs no update when n changes.
The jobs of a copy lie in one pool, whose places are used again: those that run on a server are a
pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) by finishing value, those that wait a list.
What is sought among servers is a tournament tree: 2 P numbers, P the power of two that holds all
servers, with server j at P + j and the lesser of nodes 2 i and 2 i + 1 at node i.

Simultaneous events are handled in this order: completions (lowest server first, then lowest job),
changes of speed (in the order given), arrivals (in the order given).
"""

import numpy as np
from numba import njit

from marlserve.envs.sims import cluster_arrays as has


@njit(cache=True)
def advance(until_s, rules, arrays, status):
    """Play every copy b up to until_s[b]; status: what stopped it."""
    copies, arrivals, changes, log, servers, balancers, pairs, pool, trees = arrays
    for b in range(len(copies)):
        status[b] = _advance_copy(
            *(until_s[b], rules, copies[b], arrivals[b], changes[b], log[b]),
            *(servers[b], balancers[b], pairs[b], pool[b], trees[b]),
        )


@njit(cache=True)
def _advance_copy(
    until_s, rules, copy, arrivals, changes, log, servers, balancers, pairs, pool, trees
):
    _survey(rules, servers, pairs, trees)
    while True:
        arrival, change = arrivals[copy.next_arrival], changes[copy.next_change]
        done_s = trees[has.DONE_S, 1]
        now_s = min(done_s, arrival.time_s, change.time_s)
        if now_s > until_s:
            break
        if done_s <= now_s:
            if copy.log_length == len(log):
                return has.NEEDS_LOG
            j, entry = _first(has.DONE_S, 0, trees), log[copy.log_length]
            place = _complete(j, now_s, servers, pool, trees)
            job = pool[place]
            _count(-1, job.balancer, j, now_s, rules, servers, balancers, pairs, trees)
            entry.pair, entry.number = job.balancer * len(servers) + j, job.number
            entry.value_s, entry.time_s, entry.work_s = now_s - job.arrival_s, now_s, job.work_s
            copy.log_length, copy.completed = copy.log_length + 1, copy.completed + 1
            _release(place, copy, pool)
        elif change.time_s <= now_s:
            _apply(change, rules, copy, servers, balancers, pairs, pool, trees)
            copy.next_change += 1
        else:
            place = copy.free  # which one does not depend on the size of the pool
            if place >= 0:
                copy.free = pool[place].next
            elif copy.used < len(pool):
                place, copy.used = copy.used, copy.used + 1
            else:
                return has.NEEDS_POOL
            job = pool[place]
            job.arrival_s, job.work_s, job.uniform = now_s, arrival.work_s, arrival.uniform
            job.balancer, job.number = arrival.balancer, copy.arrived
            copy.next_arrival, copy.arrived = copy.next_arrival + 1, copy.arrived + 1
            _admit(place, now_s, rules, copy, servers, balancers, pairs, pool, trees)
    for server in servers:
        _update(server, until_s)
    for k in range(len(balancers)):
        _count(0, k, 0, until_s, rules, servers, balancers, pairs, trees)
    copy.clock_s = until_s
    return has.DONE


@njit(cache=True, forceinline=True)
def _set(tree, j, value, trees):
    """Give server j this value."""
    node = (trees.shape[1] >> 1) + j
    trees[tree, node] = value
    while node > 1:  # up to the root always: to see that nothing changes would cost more
        value = min(value, trees[tree, node ^ 1])
        node >>= 1
        trees[tree, node] = value


@njit(cache=True, forceinline=True)
def _first(tree, place, trees):
    """The first server of the least value, from `place` on and then from 0."""
    size = trees.shape[1] >> 1
    node, least = size + place if place else 1, trees[tree, 1]
    while trees[tree, node] > least:
        while node & 1:  # nothing at the right in this subtree, nor in all where it ends at 0
            node >>= 1
        node += 1
    while node < size:
        node = 2 * node + (trees[tree, 2 * node] > least)
    return node - size


@njit(cache=True)
def _survey(rules, servers, pairs, trees):
    """Fill the trees of what balancers and the reward ask, weights or a speed being new."""
    for j in range(len(servers)):
        _set(has.SLOWDOWN, j, _slowdown(servers[j]), trees)
    for k in range(len(pairs)):
        total, size = 0.0, trees.shape[1] >> 1
        for j in range(len(servers)):
            _set(has.DELAY + k, j, _delay(rules, servers[j], pairs[k, j]), trees)
            if rules.dispatch == has.WEIGHTED_RANDOM:  # goes by sums in place of servers' values
                total += pairs[k, j].weight if servers[j].speed > 0.0 else 0.0
                trees[has.DELAY + k, size + j] = total


@njit(cache=True, forceinline=True)
def _slowdown(server):
    """Of one more job, if the server stayed as it is then; infinite if it is down."""
    crowd = max((server.running + server.waiting + 1) / server.cores, 1.0)
    return crowd / server.speed if server.speed > 0.0 else np.inf


@njit(cache=True, forceinline=True)
def _delay(rules, server, pair):
    """Expected delay (q + 1) / w; infinite for a server that may not be used."""
    if pair.weight <= 0.0 or server.speed <= 0.0:
        return np.inf
    flows = server.running + server.waiting if rules.dispatch == has.GLOBAL_DELAY else pair.flows
    idle = rules.dispatch == has.LEAST_CONNECTIONS and flows == 0
    return 0.0 if idle or rules.dispatch == has.ROUND_ROBIN else (flows + 1) / pair.weight


@njit(cache=True, forceinline=True)
def _update(server, now_s):
    """Bring the server's virtual time and integrals up to now."""
    elapsed_s = now_s - server.updated_s
    if server.running > 0:
        server.virtual += elapsed_s * server.rate
        server.flow_s += elapsed_s * (server.running + server.waiting)
        server.busy_core_s += elapsed_s * min(float(server.running), server.cores)
    server.updated_s = now_s


@njit(cache=True, forceinline=True)
def _count(change, k, j, now_s, rules, servers, balancers, pairs, trees):
    """Note that balancer k has so many more flows at server j, and integrate its flows."""
    balancer, server = balancers[k], servers[j]
    balancer.flow_s += balancer.flows * (now_s - balancer.updated_s)
    balancer.flows, balancer.updated_s = balancer.flows + change, now_s
    pairs[k, j].flows += change
    _set(has.SLOWDOWN, j, _slowdown(server), trees)
    if rules.dispatch == has.GLOBAL_DELAY:
        for other in range(len(pairs)):
            _set(has.DELAY + other, j, _delay(rules, server, pairs[other, j]), trees)
    elif rules.dispatch != has.WEIGHTED_RANDOM:
        _set(has.DELAY + k, j, _delay(rules, server, pairs[k, j]), trees)


@njit(cache=True, forceinline=True)
def _run(place, j, now_s, servers, pool, trees):
    """Run the job, if any. At what rate jobs proceed from now on, and when the next one is done."""
    server = servers[j]
    if place >= 0:
        pool[place].done_at, pool[place].child = server.virtual + pool[place].work_s, -1
        server.top = place if server.running == 0 else _meld(server.top, place, pool)
        server.running += 1
    server.rate = server.speed * min(1.0, server.cores / max(server.running, 1))
    if server.running == 0:
        server.virtual = 0.0  # keeps virtual time small, hence exact
        _set(has.DONE_S, j, np.inf, trees)
    else:
        remaining = max(pool[server.top].done_at - server.virtual, 0.0)
        _set(has.DONE_S, j, now_s + remaining / server.rate, trees)


@njit(cache=True, forceinline=True)
def _meld(one, other, pool):
    """One heap of two. The earlier job is on top, of equal ones the lower number."""
    x, y = pool[one], pool[other]
    if y.done_at < x.done_at or (y.done_at == x.done_at and y.number < x.number):
        x.next, y.child = y.child, one
        return other
    y.next, x.child = x.child, other
    return one


@njit(cache=True, forceinline=True)
def _take(running, server, pool):
    """Take off the running job that is done first, or the job that has waited longest."""
    if not running:
        place, server.first = server.first, pool[server.first].next
        server.waiting -= 1
        return place
    place, pairs, top = server.top, -1, -1
    child = pool[place].child
    while child >= 0:  # meld its children in pairs, and then these
        one, other = child, pool[child].next
        child = pool[other].next if other >= 0 else -1
        pair = _meld(one, other, pool) if other >= 0 else one
        pool[pair].next, pairs = pairs, pair
    while pairs >= 0:
        one, pairs = pairs, pool[pairs].next
        top = _meld(one, top, pool) if top >= 0 else one
    server.top, server.running = top, server.running - 1
    return place


@njit(cache=True, forceinline=True)
def _release(place, copy, pool):
    pool[place].server, pool[place].next = -1, copy.free
    copy.free = place


@njit(cache=True, forceinline=True)
def _complete(j, now_s, servers, pool, trees):
    """Start the job that has waited longest in place of the one that is done, and return this."""
    server = servers[j]
    _update(server, now_s)
    place = _take(True, server, pool)
    server.virtual = pool[place].done_at
    _run(_take(False, server, pool) if server.waiting > 0 else -1, j, now_s, servers, pool, trees)
    return place


@njit(cache=True, forceinline=True)
def _admit(place, now_s, rules, copy, servers, balancers, pairs, pool, trees):
    """Choose a server; run the job there, or queue it, or reject it when both are full."""
    job = pool[place]
    j = _choose(job, rules, servers, balancers, trees)
    if j >= 0:
        server, balancer = servers[j], balancers[job.balancer]
        balancer.turn = j + 1 if j + 1 < len(servers) else 0
        balancer.sent += 1
        balancer.excess += np.log(_slowdown(server) / trees[has.SLOWDOWN, 1])
        runs = rules.max_running == 0 or server.running < rules.max_running
        if runs or rules.max_backlog < 0 or server.waiting < rules.max_backlog:
            _update(server, now_s)
            if runs:
                _run(place, j, now_s, servers, pool, trees)
            else:
                if server.waiting == 0:
                    server.first = place
                else:
                    pool[server.last].next = place
                server.last, server.waiting = place, server.waiting + 1
            job.server = j
            _count(1, job.balancer, j, now_s, rules, servers, balancers, pairs, trees)
            return
    copy.rejected += 1
    _release(place, copy, pool)


@njit(cache=True, forceinline=True)
def _choose(job, rules, servers, balancers, trees):
    """The server for a job; servers that are down or have weight 0 are passed over; -1: none."""
    tree, size, num_servers = has.DELAY + job.balancer, trees.shape[1] >> 1, len(servers)
    if rules.dispatch == has.WEIGHTED_RANDOM:
        sums = trees[tree, size : size + num_servers]
        target = min(job.uniform * sums[-1], np.nextafter(sums[-1], 0.0))
        return np.searchsorted(sums, target, "right") if sums[-1] > 0.0 else -1
    if trees[tree, 1] == np.inf:
        return -1
    if rules.dispatch == has.ROUND_ROBIN:
        return _first(tree, balancers[job.balancer].turn, trees)
    # The search starts at a place of the job's own: no server comes first in all ties.
    place = job.uniform * num_servers
    first = int(place)
    if rules.dispatch == has.POWER_OF_TWO:
        second = (first + 1 + int((place - first) * (num_servers - 1))) % num_servers
        one, two = trees[tree, size + first], trees[tree, size + second]
        if one < np.inf or two < np.inf:
            return first if one <= two else second
    return _first(tree, first, trees)


@njit(cache=True)
def _apply(change, rules, copy, servers, balancers, pairs, pool, trees):
    """Set a server's speed. Speed 0 is a failure: its jobs are dispatched anew, or lost."""
    j, now_s, server = change.server, change.time_s, servers[change.server]
    _update(server, now_s)
    server.speed, running = change.speed, server.running
    victims = np.empty(running + server.waiting if server.speed <= 0.0 else 0, np.int64)
    for i in range(len(victims)):
        victims[i] = _take(i < running, server, pool)
    taken = victims[:running]
    for i, place in enumerate(taken[np.argsort(pool["number"][taken])]):
        taken[i] = place  # one by one: a whole array takes numba seconds to compile
    _run(-1, j, now_s, servers, pool, trees)
    _survey(rules, servers, pairs, trees)
    for place in victims:
        _count(-1, pool[place].balancer, j, now_s, rules, servers, balancers, pairs, trees)
    for place in victims:
        if rules.requeue:
            _admit(place, now_s, rules, copy, servers, balancers, pairs, pool, trees)
        else:
            copy.lost += 1
            _release(place, copy, pool)
