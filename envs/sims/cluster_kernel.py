"""The compiled event loop of `marlserve.envs.sims.cluster`, and everything that it calls.

All of it lies in one file, because a cached numba kernel does not notice an edit elsewhere.

A server with c cores and speed s shares itself equally among its n running jobs: each proceeds
at rate s * min(1, c / n). Its *virtual time* V is the work that one job would have received since
the server last stood empty, so a job that starts when V = v and needs w seconds of work finishes
when V = v + w: a heap of finishing values needs no update when n changes.

Simultaneous events are handled in this order: completions (lowest server first, then lowest job),
changes of speed (in the order given), arrivals (in the order given).
"""

from collections import namedtuple

import numpy as np
from numba import njit

# How a flow's server is chosen. The last sees the flows of all balancers: no deployment does.
SHORTEST_EXPECTED_DELAY, WEIGHTED_RANDOM, ROUND_ROBIN, POWER_OF_TWO, GLOBAL_DELAY = range(5)

# Why the loop of one copy stopped. It resumes exactly there once the arrays have grown.
DONE, NEEDS_HEAP, NEEDS_QUEUE, NEEDS_LOG = range(4)

Rules = namedtuple("Rules", "dispatch max_running max_backlog requeue")


@njit(cache=True)
def advance(until_s, weights, rules, arrays, status):
    """Play every copy b up to until_s[b] with the weights [B, K, M]; status: what stopped it."""
    copies, jobs, changes, servers, heaps, queues, ongoing, balancers, log = arrays
    for b in range(len(copies)):
        status[b] = _advance_copy(
            *(until_s[b], weights[b], rules, copies[b], jobs[b], changes[b]),
            *(servers[b], heaps[b], queues[b], ongoing[b], balancers[b], log[b]),
        )


@njit(cache=True)
def _advance_copy(
    until_s, weights, rules, copy, jobs, changes, servers, heaps, queues, ongoing, balancers, log
):
    while True:
        done_s, j = np.inf, -1
        for i in range(len(servers)):
            if servers[i].next_done_s < done_s:
                done_s, j = servers[i].next_done_s, i
        job, change = copy.next_job, changes[copy.next_change]
        now_s = min(done_s, jobs[job].arrival_s, change.time_s)
        if now_s > until_s:
            break
        if done_s <= now_s:
            if copy.log_length == len(log):
                return NEEDS_LOG
            finished = _finish(servers[j], heaps[j], queues[j], now_s, jobs)
            jobs[finished].latency_s = now_s - jobs[finished].arrival_s
            _count(-1, jobs[finished].balancer, j, now_s, ongoing, balancers)
            copy.completed += 1
            entry = log[copy.log_length]
            entry.pair = jobs[finished].balancer * len(servers) + j
            entry.value_s, entry.time_s = jobs[finished].latency_s, now_s
            entry.work_s = jobs[finished].work_s
            copy.log_length += 1
        elif change.time_s <= now_s:
            room = _room_for_victims(change, rules, servers, heaps, queues)
            if room != DONE:
                return room
            _apply(change, weights, rules, copy, jobs, servers, heaps, queues, ongoing, balancers)
            copy.next_change += 1
        else:
            j = _choose(jobs[job], weights, rules, servers, ongoing, balancers)
            if j >= 0:
                room = _room(1, rules, servers[j], heaps[j], queues[j])
                if room != DONE:
                    return room
            _admit(job, j, now_s, rules, copy, jobs, servers, heaps, queues, ongoing, balancers)
            copy.next_job += 1
            copy.arrived += 1
    for i in range(len(servers)):
        _update(servers[i], until_s)
    for k in range(len(balancers)):
        _count(0, k, 0, until_s, ongoing, balancers)
    copy.clock_s = until_s
    return DONE


@njit(cache=True)
def _rate(server):
    """Work that each running job receives per second."""
    return server.speed * min(1.0, server.cores / max(server.running, 1))


@njit(cache=True)
def _update(server, now_s):
    """Bring the server's virtual time and integrals up to now."""
    elapsed_s = now_s - server.updated_s
    if server.running > 0:
        server.virtual += elapsed_s * _rate(server)
        server.flow_s += elapsed_s * (server.running + server.waiting)
        server.busy_core_s += elapsed_s * min(float(server.running), server.cores)
    server.updated_s = now_s


@njit(cache=True)
def _count(change, k, j, now_s, ongoing, balancers):
    """Note that balancer k has so many more flows at server j, and integrate its flows."""
    balancer = balancers[k]
    balancer.flow_s += balancer.flows * (now_s - balancer.updated_s)
    balancer.flows += change
    balancer.updated_s = now_s
    ongoing[k, j] += change


@njit(cache=True)
def _predict(server, heap, now_s):
    """When the server's next job finishes if nothing else happens."""
    if server.running == 0:
        server.virtual = 0.0  # keeps virtual time small, hence exact
        server.next_done_s = np.inf
    else:
        remaining = max(heap[0].at - server.virtual, 0.0)
        server.next_done_s = now_s + remaining / _rate(server)


@njit(cache=True)
def _start(job, server, heap, jobs):
    """Push a job onto the heap of running ones."""
    at, i = server.virtual + jobs[job].work_s, server.running
    server.running += 1
    while i > 0 and (at, job) < (heap[(i - 1) >> 1].at, heap[(i - 1) >> 1].job):
        heap[i].at, heap[i].job = heap[(i - 1) >> 1].at, heap[(i - 1) >> 1].job
        i = (i - 1) >> 1
    heap[i].at, heap[i].job = at, job


@njit(cache=True)
def _finish(server, heap, queue, now_s, jobs):
    """Pop the job that is done, start the one that has waited longest, return the former."""
    _update(server, now_s)
    finished, server.virtual = heap[0].job, heap[0].at
    server.running -= 1
    size, i, child = server.running, 0, 1
    at, job = heap[size].at, heap[size].job
    while child < size:
        right = child + 1
        if right < size and (heap[right].at, heap[right].job) < (heap[child].at, heap[child].job):
            child = right
        if (at, job) < (heap[child].at, heap[child].job):
            break
        heap[i].at, heap[i].job = heap[child].at, heap[child].job
        i, child = child, 2 * child + 1
    heap[i].at, heap[i].job = at, job
    if server.waiting > 0:
        _start(queue[server.head], server, heap, jobs)
        server.head = (server.head + 1) % len(queue)
        server.waiting -= 1
    _predict(server, heap, now_s)
    return finished


@njit(cache=True)
def _room(count, rules, server, heap, queue):
    """DONE if the arrays can take `count` more jobs at this server, else what must grow.

    What the server itself accepts is another matter: that is for `_admit` to say.
    """
    free = rules.max_running - server.running if rules.max_running > 0 else count
    if server.running + min(count, free) > len(heap):
        return NEEDS_HEAP
    queued = server.waiting + max(count - free, 0)
    if rules.max_backlog >= 0:
        queued = min(queued, rules.max_backlog)
    return NEEDS_QUEUE if queued > len(queue) else DONE


@njit(cache=True)
def _room_for_victims(change, rules, servers, heaps, queues):
    """The same for all jobs of a server that fails: any other server may be sent all of them."""
    victims = servers[change.server].running + servers[change.server].waiting
    if change.speed <= 0.0 and victims > 0 and rules.requeue:
        for j in range(len(servers)):
            room = _room(victims, rules, servers[j], heaps[j], queues[j])
            if room != DONE:
                return room
    return DONE


@njit(cache=True)
def _admit(job, j, now_s, rules, copy, jobs, servers, heaps, queues, ongoing, balancers):
    """Run the job, queue it, or reject it when the server and its backlog are full."""
    server, heap, queue = servers[j], heaps[j], queues[j]
    if j >= 0:  # `_choose` must not: it is asked again where arrays had to grow
        balancer = balancers[jobs[job].balancer]
        balancer.turn = j + 1 if j + 1 < len(servers) else 0
        balancer.sent += 1
        best = np.inf
        for other in servers:
            best = min(best, _slowdown(other))
        balancer.excess += np.log(_slowdown(server) / best)
    if j >= 0 and (rules.max_running == 0 or server.running < rules.max_running):
        _update(server, now_s)
        _start(job, server, heap, jobs)
        _predict(server, heap, now_s)
        _count(1, jobs[job].balancer, j, now_s, ongoing, balancers)
    elif j >= 0 and (rules.max_backlog < 0 or server.waiting < rules.max_backlog):
        _update(server, now_s)
        queue[(server.head + server.waiting) % len(queue)] = job
        server.waiting += 1
        _count(1, jobs[job].balancer, j, now_s, ongoing, balancers)
    else:
        copy.rejected += 1


@njit(cache=True)
def _slowdown(server):
    """Of one more job, if the server stayed as it is then; infinite if it is down."""
    crowd = max((server.running + server.waiting + 1) / server.cores, 1.0)
    return crowd / server.speed if server.speed > 0.0 else np.inf


@njit(cache=True)
def _usable_weight(j, balancer, weights, servers):
    return weights[balancer, j] if servers[j].speed > 0.0 else 0.0


@njit(cache=True)
def _delay(j, balancer, weights, rules, servers, ongoing):
    """Expected delay (q + 1) / w; infinite for a server that may not be used."""
    weight = _usable_weight(j, balancer, weights, servers)
    if weight <= 0.0:
        return np.inf
    if rules.dispatch == GLOBAL_DELAY:
        return (servers[j].running + servers[j].waiting + 1) / weight
    return (ongoing[balancer, j] + 1) / weight


@njit(cache=True)
def _choose(job, weights, rules, servers, ongoing, balancers):
    """The server for a job; servers that are down or have weight 0 are passed over; -1: none."""
    balancer, num_servers, chosen = job.balancer, len(servers), -1
    if rules.dispatch == WEIGHTED_RANDOM:
        target = 0.0
        for j in range(num_servers):
            target += job.uniform * _usable_weight(j, balancer, weights, servers)
        for j in range(num_servers):
            weight = _usable_weight(j, balancer, weights, servers)
            if weight > 0.0 and (target >= 0.0 or chosen < 0):
                chosen = j
            target -= weight
        return chosen
    if rules.dispatch == ROUND_ROBIN:
        for i in range(num_servers):
            j = (balancers[balancer].turn + i) % num_servers
            if _usable_weight(j, balancer, weights, servers) > 0.0:
                return j
        return chosen
    # The search starts at a place of the job's own: no server comes first in all ties.
    place = job.uniform * num_servers
    first = int(place)
    if rules.dispatch == POWER_OF_TWO:
        second = (first + 1 + int((place - first) * (num_servers - 1))) % num_servers
        one = _delay(first, balancer, weights, rules, servers, ongoing)
        two = _delay(second, balancer, weights, rules, servers, ongoing)
        if one < np.inf or two < np.inf:
            return first if one <= two else second
    best = np.inf
    for j in range(num_servers):
        best = min(best, _delay(j, balancer, weights, rules, servers, ongoing))
    if best == np.inf:
        return -1
    j = first
    while _delay(j, balancer, weights, rules, servers, ongoing) > best:
        j = j + 1 if j + 1 < num_servers else 0
    return j


@njit(cache=True)
def _apply(change, weights, rules, copy, jobs, servers, heaps, queues, ongoing, balancers):
    """Set a server's speed. Speed 0 is a failure: its jobs are dispatched anew, or lost."""
    now_s, server = change.time_s, servers[change.server]
    heap, queue = heaps[change.server], queues[change.server]
    _update(server, now_s)
    server.speed = change.speed
    if server.speed > 0.0:
        _predict(server, heap, now_s)
        return
    victims = np.empty(server.running + server.waiting, np.int64)
    victims[: server.running] = np.sort(heap["job"][: server.running])
    for i in range(server.waiting):
        victims[server.running + i] = queue[(server.head + i) % len(queue)]
    server.running, server.waiting, server.head = 0, 0, 0
    _predict(server, heap, now_s)
    for job in victims:
        _count(-1, jobs[job].balancer, change.server, now_s, ongoing, balancers)
    for job in victims:
        if rules.requeue:
            j = _choose(jobs[job], weights, rules, servers, ongoing, balancers)
            _admit(job, j, now_s, rules, copy, jobs, servers, heaps, queues, ongoing, balancers)
        else:
            copy.lost += 1
