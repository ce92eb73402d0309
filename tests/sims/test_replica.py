"""The compiled engine against the plain one and closed forms, and what it must keep count of."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_engine import PlainEngine, Request

from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.replica import Engine, Replicas, TableTiming, Timing
from marlserve.envs.sims.replica_timing import pass_ns

LINEAR = Timing.linear(prefill_ms=2.0, per_new_ms=0.01, decode_ms=5.0, per_context_ms=0.001)


def chains_of(requests):
    """Where the chains start, and their nodes: one for each beginning."""
    numbers = {}
    nodes = [
        numbers.setdefault(request.chain[: i + 1], len(numbers))
        for request in requests
        for i in range(len(request.chain))
    ]
    return np.cumsum([0, *(len(request.chain) for request in requests)]), np.array(nodes, int)


def played(engines, requests, chosen, chain_tokens, copies=1):
    """The requests as `Replicas` plays them, in every copy the same."""
    replicas = Replicas(copies, engines, chain_tokens=chain_tokens, max_tokens=1_000)
    for copy in range(copies):
        replicas.reset(
            copy,
            [request.prompt for request in requests],
            [request.output for request in requests],
            *chains_of(requests),
        )
    arrivals_ns = [request.arrival_ns for request in requests]
    replicas.play(np.tile(chosen, (copies, 1)), np.tile(arrivals_ns, (copies, 1)))
    return replicas


def assert_sound(replicas):
    """Every block is free, idle or in use, by as many as hold it; every cached one is found."""
    for b, r in np.ndindex(replicas.shape):
        e, blocks = replicas.replicas[b, r], replicas._blocks[b, r]
        users = np.zeros(len(blocks), int)
        for q in replicas._running[b, r, : e["running"]]:
            request = replicas.requests[b, q]
            np.add.at(users, replicas._held[b, r, request["row"], : request["blocks"]], 1)
        idle, block = [], e["oldest"]
        while block != has.NONE:
            idle.append(block)
            block = blocks["after"][block]
        assert len(idle) == len(set(idle)) == e["num_idle"]
        assert (users[idle] == 0).all()
        in_use = np.flatnonzero(users)
        np.testing.assert_array_equal(blocks["references"][in_use], users[in_use])
        num_blocks = replicas._rules["num_blocks"][r]
        assert e["num_free"] + e["num_idle"] + len(in_use) == num_blocks
        found = replicas._table[b, r][replicas._table[b, r] != has.NONE]
        keys = blocks["key"][found]
        cached = blocks["key"][np.concatenate([in_use, idle]).astype(int)]
        assert len(keys) == len(set(keys))
        assert set(keys) == set(cached[cached != has.NONE])


engines = st.builds(
    Engine,
    block_tokens=st.sampled_from([1, 4, 7, 16]),
    num_blocks=st.integers(6, 60),
    max_num_seqs=st.integers(1, 8),
    max_num_batched_tokens=st.sampled_from([5, 16, 64, 500]),
    prefix_caching=st.booleans(),
    timing=st.sampled_from([LINEAR, Timing.of_cache(300), Timing.linear(10.0, 0.0, 3.0, 0.0)]),
)
rows = st.lists(
    st.tuples(
        st.integers(0, 60),  # ms since the one before
        st.integers(1, 120),
        st.integers(0, 30),
        st.lists(st.integers(0, 2), max_size=6),
    ),
    min_size=1,
    max_size=25,
)


def drawn(rng):
    """An engine that is short of everything, and requests that share beginnings."""
    engine = Engine(
        block_tokens=int(rng.choice([1, 4, 7, 16])),
        num_blocks=int(rng.integers(6, 60)),
        max_num_seqs=int(rng.integers(1, 8)),
        max_num_batched_tokens=int(rng.choice([5, 16, 64, 500])),
        prefix_caching=bool(rng.random() < 0.8),
        timing=(LINEAR, Timing.of_cache(300))[rng.integers(2)],
    )
    at_ns = np.cumsum(rng.integers(0, 40, rng.integers(5, 60))) * 1_000_000
    requests = [
        Request(
            *(i, int(at), int(rng.integers(1, 100)), int(rng.integers(0, 40))),
            tuple(rng.integers(0, 2, rng.integers(0, 7)).tolist()),
        )
        for i, at in enumerate(at_ns)
    ]
    return engine, requests


@pytest.mark.parametrize("seed", range(5))
def test_it_serves_as_the_plain_engine_does(seed):
    """Times, reuse and admissions of every request are the same, on two replicas side by side."""
    rng = np.random.default_rng(seed)
    preemptions = failed = hits = 0
    for _ in range(60):
        engine, requests = drawn(rng)
        chosen = rng.integers(0, 2, len(requests))
        replicas = played([engine, engine], requests, chosen, chain_tokens=16)
        assert_sound(replicas)
        for r in (0, 1):
            mine = [q for q, to in zip(requests, chosen, strict=True) if to == r]
            PlainEngine(engine, chain_tokens=16).play(mine)
        found = replicas.requests[0]
        for request, row in zip(requests, found, strict=True):
            assert row["admissions"] == len(request.admitted)
            if request.rejected:
                assert row["status"] in (has.REJECTED, has.FAILED)
                continue
            assert row["status"] == has.COMPLETED
            assert row["last_token_ns"] == request.done_ns
            assert row["first_token_ns"] == (request.tokens_ns or [-1])[0]
            assert row["admitted_ns"] == request.admitted[0][0]
            assert row["reused_tokens"] == max(reused for _, reused in request.admitted)
        e = replicas.replicas[0]
        assert e["completed"].sum() + e["rejected"].sum() == len(requests)
        preemptions += e["preemptions"].sum()
        hits += e["hit_tokens"].sum()
        failed += (found["status"] == has.FAILED).sum()
    assert preemptions > 100
    assert failed > 20
    assert hits > 1_000


@given(engine=engines, rows=rows, seed=st.integers(0, 99))
def test_a_look_at_any_time_changes_nothing(engine, rows, seed):
    """Played in steps of random lengths, with an account of all blocks after each."""
    at_ns = np.cumsum([row[0] for row in rows]) * 1_000_000
    requests = [
        Request(i, int(at_ns[i]), row[1], row[2], tuple(row[3])) for i, row in enumerate(rows)
    ]
    at_once = played([engine], requests, [0] * len(rows), chain_tokens=16)
    replicas = Replicas(1, [engine], chain_tokens=16, max_tokens=1_000)
    replicas.reset(0, *zip(*[row[1:3] for row in rows], strict=True), *chains_of(requests))
    rng = np.random.default_rng(seed)
    for at in at_ns:
        for look in np.sort(rng.integers(0, at + 1, 2)):
            replicas.advance([look])
        replicas.advance([at])
        replicas.submit([0], [at])
        replicas.settle()
        assert_sound(replicas)
    replicas.finish()
    for name in has.REQUEST.names:
        if name not in ("row", "next"):
            np.testing.assert_array_equal(replicas.requests[name], at_once.requests[name], name)


def in_seconds(replicas, name):
    return replicas.requests[0][name] / 1e9


def test_one_at_a_time_is_the_queue_of_pollaczek_and_khinchine():
    """M/G/1: mean wait = rate E[S^2] / 2 (1 - load), here at a load of .7."""
    rng = np.random.default_rng(0)
    tokens = rng.geometric(1 / 20, 100_000)
    service_s = 0.010 + (tokens - 1) * 0.003
    arrivals_s = np.cumsum(rng.exponential(service_s.mean() / 0.7, len(tokens)))
    timing = Timing.linear(prefill_ms=10.0, decode_ms=3.0)
    replicas = Replicas(1, [Engine(max_num_seqs=1, prefix_caching=False, timing=timing)])
    replicas.reset(0, np.full(len(tokens), 100), tokens)
    replicas.play(np.zeros((1, len(tokens)), int), (arrivals_s * 1e9)[None])
    wait_s = in_seconds(replicas, "admitted_ns") - in_seconds(replicas, "arrival_ns")
    np.testing.assert_allclose(
        in_seconds(replicas, "last_token_ns") - in_seconds(replicas, "admitted_ns"), service_s
    )
    expected_s = 0.7 / service_s.mean() * np.mean(service_s**2) / 2 / (1 - 0.7)
    assert abs(wait_s.mean() / expected_s - 1) < 0.05


def test_passes_of_constant_length_without_limits_serve_each_as_if_alone():
    """M/G/infinity: half a pass until the next one starts, and a pass for each token."""
    rng = np.random.default_rng(1)
    tokens = rng.geometric(1 / 100, 50_000)
    arrivals_s = np.cumsum(rng.exponential(0.01, len(tokens)))
    engine = Engine(max_num_seqs=2_000, max_num_batched_tokens=100_000, num_blocks=200_000)
    engine = replace(engine, timing=Timing.linear(decode_ms=5.0))
    replicas = Replicas(1, [engine], max_tokens=4_000)
    replicas.reset(0, np.full(len(tokens), 10), tokens)
    replicas.play(np.zeros((1, len(tokens)), int), (arrivals_s * 1e9)[None])
    e2e_s = in_seconds(replicas, "last_token_ns") - in_seconds(replicas, "arrival_ns")
    assert abs(e2e_s.mean() / (0.005 * (tokens.mean() + 0.5)) - 1) < 0.005
    assert abs(np.corrcoef(e2e_s, tokens)[0, 1] - 1) < 1e-3


def test_a_table_goes_on_beyond_its_last_point():
    timing = TableTiming((2.0, 4.0, 10.0), (5.0, 5.0, 11.0), 0.1, 0.01)
    for tokens, ms in ((1, 5.0), (3, 5.0), (7, 8.0), (10, 11.0), (16, 17.0)):
        assert pass_ns(timing.row(), 1.0, tokens, 0, 0, 0) == pytest.approx(1e6 * ms)
    assert pass_ns(timing.row(), 2.0, 2, 300, 1, 40) == pytest.approx(2e6 * (5.0 + 4.0 + 3.0))
    assert pass_ns(TableTiming((1.0,), (3.0,)).row(), 1.0, 50, 0, 2, 9) == 3_000_000


@pytest.mark.parametrize(
    ("tokens", "ms", "message"),
    [
        ((), (), "there are 0 tokens and 0 ms"),
        ((1.0, 1.0), (1.0, 2.0), "must rise"),
        ((1.0, np.nan), (1.0, 2.0), "must rise"),
        ((1.0, 2.0), (1.0, -2.0), "ms is"),
        ((1.0, 2.0, 3.0), (1.0, 3.0, 2.0), "must not fall at last"),
    ],
)
def test_a_table_that_is_none_is_refused(tokens, ms, message):
    with pytest.raises(ValueError, match=message):
        TableTiming(tokens, ms)
