"""What is foreseen of a replica is what happens if no more requests come."""

import numpy as np
import pytest

from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.replica import Engine, Replicas, Timing
from marlserve.envs.sims.replica_outlook import outlook


def drawn(rng):
    """A replica with room for all blocks, in the middle of its requests; and the next request."""
    engine = Engine(
        block_tokens=16,
        num_blocks=100_000,
        max_num_seqs=int(rng.integers(3, 40)),
        max_num_batched_tokens=int(rng.choice([64, 500, 2_000])),
        prefix_caching=bool(rng.random() < 0.5),
        timing=(Timing.linear(2.0, 0.01, 5.0, 0.001), Timing.of_cache(1_600_000))[rng.integers(2)],
    )
    n = int(rng.integers(2, 60))
    prompts, outputs = rng.integers(1, 1_000, n), rng.integers(1, 200, n)
    at_ns = np.cumsum(rng.integers(0, 60_000_000, n))
    replicas = Replicas(1, [engine], max_tokens=2_000)
    replicas.reset(0, prompts, outputs)
    for at in at_ns[:-1]:
        replicas.advance([at])
        replicas.submit([0], [at])
    replicas.advance([at_ns[-1]])
    return replicas, int(at_ns[-1])


def foreseen(replicas, now_ns, *more):
    (state, rules, timings, *_) = replicas.arguments
    e, running = state[0][0, 0], state[5][0, 0]
    return outlook(now_ns, e, rules[0], timings[0], replicas.requests[0], running, *more)


@pytest.mark.parametrize("seed", range(60))
def test_the_sums_of_times_come_true(seed):
    replicas, now_ns = drawn(np.random.default_rng(seed))
    replicas.settle()
    before = replicas.requests[0].copy()
    first, last, _, _ = foreseen(replicas, now_ns, 0, 0, 0)
    replicas.finish()
    after = replicas.requests[0]
    live = np.isin(before["status"], [has.WAITING, has.RUNNING])
    waits = live & (before["first_token_ns"] == has.NONE)
    np.testing.assert_allclose(first, after["first_token_ns"][waits].sum(), rtol=1e-3)
    np.testing.assert_allclose(last, after["last_token_ns"][live].sum(), rtol=1e-3)


@pytest.mark.parametrize("seed", range(60, 120))
def test_one_more_is_foreseen_too(seed):
    replicas, now_ns = drawn(np.random.default_rng(seed))
    prompt, output = (replicas.requests[0][name][-1] for name in ("prompt_tokens", "output_tokens"))
    first, last, own_first, own_last = foreseen(replicas, now_ns, prompt, 0, output)
    replicas.submit([0], [now_ns])
    assert foreseen(replicas, now_ns, 0, 0, 0)[:2] == (first, last)
    replicas.finish()
    request = replicas.requests[0][-1]
    np.testing.assert_allclose(own_first, request["first_token_ns"], rtol=1e-3)
    np.testing.assert_allclose(own_last, request["last_token_ns"], rtol=1e-3)
