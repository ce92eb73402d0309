"""Replicas that slow down, fail, drain and join: no request is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.gateways import CHANGE, DRAIN, Gateways
from marlserve.envs.sims.replica import Engine, Timing

TIMING = Timing.linear(prefill_ms=5.0, per_new_ms=0.05, decode_ms=8.0, per_context_ms=0.0005)
ENGINE = Engine(block_tokens=16, num_blocks=60, max_num_seqs=4, timing=TIMING)
LOST = (has.REJECTED, has.FAILED)


def made(changes, num_requests=80, seed=0, engine=ENGINE):
    """One copy of three replicas, of two gateways, with requests of the same few conversations."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(0.05, num_requests))
    depths, first = rng.integers(1, 6, num_requests), rng.integers(0, 4, num_requests)
    nodes = np.concatenate([5 * i + np.arange(d) for i, d in zip(first, depths, strict=True)])
    gateways = Gateways(1, 2, [engine] * 3, chain_tokens=32, max_tokens=400)
    gateways.reset(
        *(0, arrival_s, rng.integers(2, size=num_requests)),
        (32 * depths, rng.integers(1, 60, num_requests), np.cumsum([0, *depths]), nodes),
        warm_s=0.5,
        end_s=float(arrival_s[-1]) + 1.0,
        rates=np.ones(3),
        changes=np.array(sorted(changes), CHANGE),
    )
    return gateways


plans = st.lists(
    st.tuples(
        st.integers(0, 5_000_000_000),
        st.integers(0, 2),
        st.sampled_from([0.0, DRAIN, 0.5, 1.0, 4.0]),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(plan=plans, seed=st.integers(0, 99))
def test_what_arrived_is_over_or_in_the_system(plan, seed):
    """At every decision, for every replica, and in what gateways are told of their decisions."""
    gateways, rng = made(plan, seed=seed), np.random.default_rng(seed)
    early = np.isin(gateways.replicas.requests[0]["status"], LOST).sum()  # in the warm-up
    failures = 0
    while not gateways.copies["over"][0]:
        gateways.step(rng.integers(0, 3, (1, 2)))
        failures += gateways.decisions["failures"].sum()
        requests, replicas = gateways.replicas.requests[0], gateways.replicas.replicas[0]
        statuses = np.bincount(requests["status"], minlength=6)
        assert statuses[1:].sum() == gateways.replicas.num_submitted[0]
        assert statuses[has.WAITING] == replicas["waiting"].sum()
        assert statuses[has.RUNNING] == replicas["running"].sum()
        assert statuses[has.COMPLETED] == replicas["completed"].sum()
    requests = gateways.replicas.requests[0]
    assert np.isin(requests["status"], (has.COMPLETED, *LOST)).all()
    assert failures == np.isin(requests["status"], LOST).sum() - early
    for name in ("requests", "unanswered", "prompt_tokens", "new_tokens"):
        assert (gateways.pairs[name] == 0).all()


def at_second(gateways, at_s, chosen):
    """Play to a time, everything to one replica."""
    while gateways.copies["clock_ns"][0] < at_s * 1e9 and not gateways.copies["over"][0]:
        gateways.step(np.full((1, 2), chosen))


def test_what_drains_ends_what_it_has_and_rejects_more():
    gateways = made([(2e9, 0, DRAIN)])
    at_second(gateways, 2.0, 0)
    assert gateways.scraped["up"][0].tolist() == [0.0, 1.0, 1.0]
    under_way, now_ns = gateways.pairs["requests"].sum(), gateways.copies["clock_ns"][0]
    assert under_way > 5
    at_second(gateways, np.inf, 0)
    requests = gateways.replicas.requests[0]
    late = requests["arrival_ns"] >= 2e9
    own = requests["replica"] == 0
    assert (requests["status"][own & ~late] == has.COMPLETED).all()
    assert (requests["status"][own & late] == has.REJECTED).all()
    assert (requests["last_token_ns"][own & ~late] > now_ns).sum() == under_way


@pytest.mark.parametrize(("back_s", "is_empty"), [(2.001, False), (3.9, True)])
def test_what_comes_back_after_it_had_drained_has_an_empty_cache(back_s, is_empty):
    gateways = made([(2e9, 0, DRAIN), (back_s * 1e9, 0, 1.0)])
    at_second(gateways, 2.0, 0)
    at_second(gateways, 3.9, 1)
    q = gateways.copies["first"][0]
    at_second(gateways, np.inf, 0)
    requests = gateways.replicas.requests[0]
    assert requests["arrival_ns"][q] >= 3.9e9
    assert requests["status"][q] == has.COMPLETED
    assert (requests["hit_tokens"][q] == 0) == is_empty


def test_what_joins_serves_from_then_on():
    gateways = made([(0, 2, 0.0), (2e9, 2, 0.5)])
    assert gateways.scraped["up"][0].tolist() == [1.0, 1.0, 0.0]
    assert not (gateways.replicas.requests[0]["replica"] == 2).any()
    at_second(gateways, 2.0, 1)
    assert gateways.scraped["up"][0].all()
    at_second(gateways, np.inf, 2)
    requests = gateways.replicas.requests[0]
    assert (requests["status"][requests["arrival_ns"] >= 2e9] == has.COMPLETED).all()
    assert gateways.replicas.replicas["slowness"][0, 2] == 0.5
