"""The compiled part of `gateways` that tells what would be if a request went to each replica."""

from numba import njit

from marlserve.envs.sims.replica_arrays import NONE
from marlserve.envs.sims.replica_blocks import expected_hits
from marlserve.envs.sims.replica_kernel import settle
from marlserve.envs.sims.replica_outlook import outlook


@njit(cache=True)
def what_if(present, weights, own_s, all_s, known, state, rules, timings):
    """For each gateway's request and each replica: the weighted times of the request itself, and by
    how much those of all requests would rise, in seconds, [B, G, R]."""
    asked = known[1]
    replicas, requests, nodes, blocks, table, running, held, _ = state
    for b in range(replicas.shape[0]):
        for r in range(replicas.shape[1]):
            e = replicas[b, r]
            settle(
                *(e, rules[r], requests[b], nodes[b], blocks[b, r], table[b, r]),
                *(running[b, r], held[b, r]),
            )
            before = -1.0
            for g in range(present.shape[1]):
                q = present[b, g]
                if q == NONE:
                    continue
                now_ns = max(known[0][b].clock_ns, asked[b, q].arrival_ns)
                if before < 0.0:
                    first, last, _, _ = outlook(
                        now_ns, e, rules[r], timings[r], requests[b], running[b, r], 0, 0, 0
                    )
                    before = weights[0] * first + weights[1] * last
                there = expected_hits(q, rules[r], requests[b], nodes[b], blocks[b, r], table[b, r])
                request, at_ns = requests[b, q], asked[b, q].arrival_ns
                first, last, own_first, own_last = outlook(
                    *(now_ns, e, rules[r], timings[r], requests[b], running[b, r]),
                    *(request.prompt_tokens, there, request.output_tokens),
                )
                at = (weights[0] + weights[1]) * at_ns
                after = weights[0] * first + weights[1] * last
                own_s[b, g, r] = (weights[0] * own_first + weights[1] * own_last - at) / 1e9
                all_s[b, g, r] = (after - before - at) / 1e9
