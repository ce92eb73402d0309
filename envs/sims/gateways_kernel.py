"""The compiled part of `gateways`: rounds of decisions, and what is known at each.

A round is the next request of the copy and those after it, as long as each reaches another gateway
and comes within `round_ns`; all of them are decided on what is known as the round begins.
"""

import numpy as np
from numba import njit

from marlserve.envs.sims import replica_kernel
from marlserve.envs.sims.gateways_changes import change_replica, refuse, takes_requests
from marlserve.envs.sims.replica_arrays import COMPLETED, END, NONE
from marlserve.envs.sims.replica_batch import advance_copy
from marlserve.envs.sims.replica_outlook import outlook

_NEVER = np.iinfo(np.int64).max
_RECENT = 0.1  # weight of the newest latency in a mean


@njit(cache=True)
def _advance(b, until_ns, known, state, rules, timings, logs, log_lengths):
    """Play a copy to a time, with what changes before, and let the gateways hear of it."""
    copies, index, changes, requests = known[0], known[5], known[7], state[1]
    c = copies[b]
    while True:
        due = c.next_change < changes.shape[1]
        due = due and changes[b, c.next_change].time_ns <= min(until_ns, _NEVER - 1)
        to_ns = changes[b, c.next_change].time_ns if due else until_ns
        advance_copy(b, to_ns, state, rules, timings, logs, log_lengths)
        if not due:
            break
        change_replica(
            *(b, to_ns, changes[b, c.next_change], index, state, rules, logs, log_lengths)
        )
        c.next_change += 1
    c.clock_ns = until_ns
    _hear(b, known, requests, logs, log_lengths)


@njit(cache=True)
def _hear(b, known, requests, logs, log_lengths):
    """First tokens and ends reach the gateways whose requests they are."""
    _, asked, pairs, _, decisions, _, _, _, limits, _ = known
    for i in range(log_lengths[b]):
        q = logs[b, i] >> 1
        request = requests[b, q]
        g, r = asked[b, q].gateway, request.replica
        pair = pairs[b, g, r]
        first_ns = request.first_token_ns  # or the end, of what ends without a token
        if first_ns == NONE:
            first_ns = request.last_token_ns
        first_s = (first_ns - request.arrival_ns) / 1e9
        if logs[b, i] & 1 != END:
            pair.unanswered -= 1
            pair.new_tokens -= asked[b, q].new_tokens
            pair.answers += 1
            pair.ttft_s += (first_s - pair.ttft_s) * max(_RECENT, 1.0 / pair.answers)
            continue
        pair.requests -= 1
        pair.prompt_tokens -= request.prompt_tokens
        if request.first_token_ns == NONE:
            pair.unanswered -= 1
            pair.new_tokens -= asked[b, q].new_tokens
        if request.status != COMPLETED:
            decisions[b, g].failures += 1
            continue
        pair.sent_tokens += request.output_tokens
        tpot_s = 0.0
        if request.output_tokens > 1:
            tpot_s = (request.last_token_ns - request.first_token_ns) / 1e9
            tpot_s /= request.output_tokens - 1
            pair.completed += 1
            pair.tpot_s += (tpot_s - pair.tpot_s) * max(_RECENT, 1.0 / pair.completed)
        if first_s <= limits[0] and tpot_s <= limits[1]:
            decisions[b, g].within_slo += 1
    log_lengths[b] = 0


@njit(cache=True)
def _scrape(b, known, state, rules):
    """Gateways are told what every replica tells of itself."""
    scraped = known[3]
    replicas, requests, running = state[0], state[1], state[5]
    for r in range(replicas.shape[1]):
        e, seen = replicas[b, r], scraped[b, r]
        seen.running, seen.waiting, seen.up = e.running, e.waiting, takes_requests(e)
        used = replica_kernel.blocks_in_use(e, rules[r], requests[b], running[b, r])
        seen.kv_usage = used / rules[r].num_blocks


@njit(cache=True)
def _count_tokens(b, known, state):
    """How many tokens gateways were sent so far of their requests under way."""
    asked, pairs = known[1], known[2]
    replicas, requests, running = state[0], state[1], state[5]
    for r in range(replicas.shape[1]):
        e = replicas[b, r]
        for g in range(pairs.shape[1]):
            pairs[b, g, r].generated_tokens = 0
        for i in range(e.running):
            q = running[b, r, i]
            pairs[b, asked[b, q].gateway, r].generated_tokens += (
                requests[b, q].generated + e.run_done
            )
        q = e.first
        for _ in range(e.waiting):
            pairs[b, asked[b, q].gateway, r].generated_tokens += requests[b, q].generated
            q = requests[b, q].next


@njit(cache=True)
def _matched(b, g, q, known, state, rules, matched):
    """Tokens of a request that each replica should have, by what this gateway sent there.

    A node is taken to be there until as many tokens as the cache holds were sent after it: this
    gateway's, times the number of gateways.
    """
    pairs, index = known[2], known[5]
    request, nodes = state[1][b, q], state[2]
    num_gateways, num_replicas = pairs.shape[1], pairs.shape[2]
    matched[:] = 0
    for i in range(request.chain_length):
        node = nodes[b, request.chain_start + i]
        tokens = min((i + 1) * rules[0].chain_tokens, request.prompt_tokens)
        found = False
        for r in range(num_replicas):
            mark = index[b, g, node, r]
            if mark == 0:
                continue
            behind = (pairs[b, g, r].sent_tokens + 1 - mark) * num_gateways
            if behind < rules[r].num_blocks * rules[r].block_tokens:
                matched[r] = tokens
                found = True
        if not found:
            return


@njit(cache=True)
def _send(b, q, r, known, state, rules, timings, logs, log_lengths, num_submitted):
    """A request goes to a replica, and what that means for all is foreseen."""
    _, asked, pairs, _, decisions, index, matched, _, _, homes = known
    replicas, requests, nodes, blocks, table, running, held, _ = state
    a, request = asked[b, q], requests[b, q]
    e, pair = replicas[b, r], pairs[b, a.gateway, r]
    request.replica = r
    if a.session != NONE:
        homes[b, a.session] = r
    num_submitted[b] += 1
    if not takes_requests(e):
        refuse(request, e, a.arrival_ns)
        decisions[b, a.gateway].failures += 1
        return
    a.new_tokens = request.prompt_tokens - matched[b, a.gateway, r]
    pair.requests += 1
    pair.unanswered += 1
    pair.prompt_tokens += request.prompt_tokens
    pair.new_tokens += a.new_tokens
    pair.sent_tokens += a.new_tokens
    for i in range(request.chain_length):
        index[b, a.gateway, nodes[b, request.chain_start + i], r] = pair.sent_tokens + 1
    before_first, before_last, _, _ = outlook(
        a.arrival_ns, e, rules[r], timings[r], requests[b], running[b, r], 0, 0, 0
    )
    replica_kernel.submit(
        *(q, a.arrival_ns, e, rules[r], requests[b], nodes[b], blocks[b, r], table[b, r]),
        *(running[b, r], held[b, r]),
    )
    first, last, _, _ = outlook(
        a.arrival_ns, e, rules[r], timings[r], requests[b], running[b, r], 0, 0, 0
    )
    decision = decisions[b, a.gateway]
    decision.ttft_s += (first - before_first - a.arrival_ns) / 1e9
    decision.e2e_s += (last - before_last - a.arrival_ns) / 1e9


@njit(cache=True)
def _begin_round(b, round_ns, scrape_ns, known, state, rules, timings, logs, log_lengths):
    """Play on to the next request, and look at what is known then; or the episode is over."""
    copies, asked, matched = known[0], known[1], known[6]
    c = copies[b]
    c.first += c.count
    c.count = 0
    if c.first >= c.last:
        _advance(b, _NEVER, known, state, rules, timings, logs, log_lengths)
        _scrape(b, known, state, rules)
        _count_tokens(b, known, state)
        c.clock_ns = c.scraped_ns = c.end_ns
        c.over = 1
        return
    now_ns = asked[b, c.first].arrival_ns
    if scrape_ns > 0 and now_ns // scrape_ns > c.scraped_ns // scrape_ns:
        # At the latest due time, or as the last round ended if that was later.
        c.scraped_ns = max(now_ns - now_ns % scrape_ns, c.clock_ns)
        _advance(b, c.scraped_ns, known, state, rules, timings, logs, log_lengths)
        _scrape(b, known, state, rules)
    _advance(b, now_ns, known, state, rules, timings, logs, log_lengths)
    if scrape_ns == 0:
        c.scraped_ns = now_ns
        _scrape(b, known, state, rules)
    _count_tokens(b, known, state)
    for q in range(c.first, c.last):
        again = False
        for other in range(c.first, q):
            again = again or asked[b, other].gateway == asked[b, q].gateway
        if again or asked[b, q].arrival_ns - now_ns > round_ns:
            break
        g = asked[b, q].gateway
        _matched(b, g, q, known, state, rules, matched[b, g])
        c.count += 1


@njit(cache=True)
def _play_round(b, chosen, known, state, rules, timings, logs, log_lengths, num_submitted):
    """Each request of the round goes where its gateway sends it, at its own time."""
    copies, asked = known[0], known[1]
    c = copies[b]
    for q in range(c.first, c.first + c.count):
        if asked[b, q].arrival_ns > c.clock_ns:
            _advance(b, asked[b, q].arrival_ns, known, state, rules, timings, logs, log_lengths)
        _send(
            *(b, q, chosen[asked[b, q].gateway], known, state, rules, timings),
            *(logs, log_lengths, num_submitted),
        )


@njit(cache=True)
def _forget_decisions(decisions):
    for decision in decisions:
        decision.ttft_s = decision.e2e_s = decision.failures = decision.within_slo = 0.0


@njit(cache=True)
def start(
    b, round_ns, scrape_ns, rates, known, state, rules, timings, logs, log_lengths, num_submitted
):
    """Play the warm-up by fewest requests in flight for the replica's rate, up to the first round
    that counts."""
    copies, asked, pairs, decisions = known[0], known[1], known[2], known[4]
    c = copies[b]
    chosen = np.zeros(pairs.shape[1], np.int64)
    while True:
        _begin_round(b, round_ns, scrape_ns, known, state, rules, timings, logs, log_lengths)
        if c.over or asked[b, c.first].arrival_ns >= c.warm_ns:
            break
        for g in range(pairs.shape[1]):
            least = np.inf
            for r in range(pairs.shape[2]):
                load = (pairs[b, g, r].requests + 1) / rates[r]
                if load < least and takes_requests(state[0][b, r]):
                    least, chosen[g] = load, r
        _play_round(b, chosen, known, state, rules, timings, logs, log_lengths, num_submitted)
    _forget_decisions(decisions[b])


@njit(cache=True)
def step(
    chosen, round_ns, scrape_ns, known, state, rules, timings, logs, log_lengths, num_submitted
):
    """Play the round of every copy that is not over, and begin the next one."""
    copies, decisions = known[0], known[4]
    for b in range(len(copies)):
        if copies[b].over:
            continue
        _forget_decisions(decisions[b])
        _play_round(b, chosen[b], known, state, rules, timings, logs, log_lengths, num_submitted)
        _begin_round(b, round_ns, scrape_ns, known, state, rules, timings, logs, log_lengths)
