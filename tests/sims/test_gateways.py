"""Gateways: who decides when on what, what decisions cost, and that no request is lost."""

import numpy as np
import pytest

from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.gateways import CHANGE, Gateways
from marlserve.envs.sims.replica import Engine, Timing

TIMING = Timing.linear(prefill_ms=5.0, per_new_ms=0.05, decode_ms=8.0, per_context_ms=0.0005)
ROOMY = Engine(block_tokens=16, num_blocks=20_000, max_num_seqs=64, timing=TIMING)


def drawn(num_requests, seed, num_gateways=1, num_replicas=3, **given):
    """Random requests, some of which begin alike: what `Gateways.reset` wants."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(0.05, num_requests))
    depths = rng.integers(1, 6, num_requests)
    first_nodes = rng.integers(0, 20, num_requests)  # of 20 conversations: nodes 5 i, 5 i + 1, ...
    nodes = np.concatenate([5 * i + np.arange(d) for i, d in zip(first_nodes, depths, strict=True)])
    return {
        "arrival_s": arrival_s,
        "gateway": rng.integers(num_gateways, size=num_requests),
        "requests": (
            *(32 * depths, rng.integers(1, 80, num_requests)),
            *(np.cumsum([0, *depths]), nodes),
        ),
        "warm_s": 2.0,
        "end_s": float(arrival_s[-1]) + 1.0,
        "rates": np.ones(num_replicas),
        "session": first_nodes,
        **given,
    }


def made(num_gateways=1, num_requests=300, seed=0, **options):
    """One copy with these requests, from its first decision on."""
    given = {name: options.pop(name) for name in ("changes", "warm_s") if name in options}
    gateways = Gateways(1, num_gateways, [ROOMY] * 3, chain_tokens=32, **options)
    gateways.reset(0, **drawn(num_requests, seed, num_gateways, **given))
    return gateways


def play(gateways, choose):
    """To the end of the episode; the sum of what decisions cost."""
    cost = np.zeros(4)
    while not gateways.copies["over"][0]:
        gateways.step(choose(gateways))
        cost += [gateways.decisions[name].sum() for name in gateways.decisions.dtype.names]
    return dict(zip(gateways.decisions.dtype.names, cost, strict=True))


def fewest(gateways):
    return gateways.pairs["requests"].argmin(axis=-1)


def test_what_decisions_cost_adds_up_to_the_time_that_requests_took():
    gateways = made(warm_s=0.0)
    cost = play(gateways, fewest)
    requests = gateways.replicas.requests[0]
    assert (requests["status"] == has.COMPLETED).all()
    for name, field in (("ttft_s", "first_token_ns"), ("e2e_s", "last_token_ns")):
        took_s = (requests[field] - requests["arrival_ns"]).sum() / 1e9
        np.testing.assert_allclose(cost[name], took_s, rtol=1e-3)


def test_a_copy_is_as_alone_whatever_others_have():
    """More changes, requests, nodes or sessions of another copy are nothing to it."""
    alone = made(num_requests=100)
    both = Gateways(2, 1, [ROOMY] * 3, chain_tokens=32)
    some, many = (drawn(num_requests, seed) for num_requests, seed in ((100, 0), (300, 1)))
    both.reset(0, **some)
    both.reset(1, **many, changes=np.array([(3e9, 0, 0.0), (4e9, 0, 1.0)], CHANGE))
    while not both.copies["over"].all():
        both.step(both.pairs["requests"].argmin(axis=-1))
    play(alone, fewest)
    for name in ("first_token_ns", "last_token_ns", "replica", "status"):
        np.testing.assert_array_equal(
            both.replicas.requests[name][0, :100], alone.replicas.requests[name][0]
        )


def test_a_failure_is_no_gain_of_the_next_decision():
    changes = np.array([(4e9, 0, 0.0), (4.2e9, 0, 1.0)], CHANGE)
    gateways = made(changes=changes)
    while not gateways.copies["over"][0]:
        gateways.step([[0]] if gateways.copies["clock_ns"][0] < 6e9 else fewest(gateways))
        assert gateways.decisions["e2e_s"].min() > -1e-6


def test_an_episode_without_requests_is_over():
    gateways = Gateways(1, 2, [ROOMY])
    nothing = np.zeros(0, int)
    gateways.reset(
        *(0, np.zeros(0), nothing, (nothing, nothing, np.zeros(1, int), nothing)),
        **{"warm_s": 0.0, "end_s": 1.0, "rates": np.ones(1)},
    )
    assert gateways.copies["over"].all()
    present = gateways.present()
    assert (present == -1).all()
    assert (gateways.homes(present) == -1).all()


def test_gateways_know_what_they_have_under_way():
    gateways = made(num_gateways=3)
    while not gateways.copies["over"][0]:
        gateways.replicas.settle()
        copy, requests = gateways.copies[0], gateways.replicas.requests[0]
        asked, sent = gateways.asked[0], np.arange(len(requests)) < copy["first"]
        live = sent & np.isin(requests["status"], [has.WAITING, has.RUNNING])
        for g, r in np.ndindex(gateways.shape[1:]):
            own = live & (asked["gateway"] == g) & (requests["replica"] == r)
            pair = gateways.pairs[0, g, r]
            assert pair["requests"] == own.sum()
            assert pair["prompt_tokens"] == requests["prompt_tokens"][own].sum()
            waits = own & (requests["first_token_ns"] == has.NONE)
            assert pair["unanswered"] == waits.sum()
            assert pair["generated_tokens"] == requests["generated"][own].sum()
            assert pair["new_tokens"] == asked["new_tokens"][waits].sum()
        gateways.step(fewest(gateways))


def test_a_round_is_of_different_gateways_within_its_time():
    gateways = made(num_gateways=3, round_s=0.1)
    sizes = []
    while not gateways.copies["over"][0]:
        copy, present = gateways.copies[0], gateways.present()[0]
        of_round = np.arange(copy["first"], copy["first"] + copy["count"])
        asked = gateways.asked[0][of_round]
        assert sorted(present[present >= 0]) == of_round.tolist()
        assert (present[asked["gateway"]] == of_round).all()
        assert asked["arrival_ns"][0] == copy["clock_ns"]
        assert asked["arrival_ns"][-1] - asked["arrival_ns"][0] <= 0.1e9
        sizes.append(len(of_round))
        gateways.step(fewest(gateways))
    assert max(sizes) == 3
    arrivals = gateways.replicas.requests[0]["arrival_ns"]
    np.testing.assert_array_equal(arrivals, gateways.asked[0]["arrival_ns"])


def test_what_should_be_cached_is_where_nothing_was_pushed_out():
    gateways = made()
    found = []
    while not gateways.copies["over"][0]:
        chosen = fewest(gateways)
        expected, q = gateways.matched[0, 0, chosen[0, 0]], gateways.present()[0, 0]
        gateways.step(chosen)
        found.append((q, expected))
    requests = gateways.replicas.requests[0]
    numbers, expected = np.array(found).T
    reused = requests["reused_tokens"][numbers]
    # All but the last block, which is always computed, and what was not yet computed itself.
    assert (reused <= expected).all()
    assert reused.sum() > 0.8 * expected.sum()


def test_what_is_scraped_is_true():
    gateways = made()
    while not gateways.copies["over"][0]:
        told = gateways.scraped[0].copy()
        gateways.replicas.settle()
        replicas = gateways.replicas.replicas[0]
        free = replicas["num_free"] + replicas["num_idle"]
        np.testing.assert_allclose(told["kv_usage"], 1.0 - free / ROOMY.num_blocks)
        np.testing.assert_array_equal(told["running"], replicas["running"])
        gateways.step(fewest(gateways))


@pytest.mark.parametrize("num_gateways", [1, 4])
def test_what_is_scraped_is_as_old_as_it_says(num_gateways):
    gateways, last, seen, ages = made(num_gateways, scrape_s=1.0), None, None, []
    while not gateways.copies["over"][0]:
        copy = gateways.copies[0]
        age = (copy["clock_ns"] - copy["scraped_ns"]) / 1e9
        assert 0 <= age < 1.0
        assert copy["scraped_ns"] % 10**9 <= (num_gateways > 1) * 0.1e9
        if copy["scraped_ns"] == last:
            np.testing.assert_array_equal(gateways.scraped, seen)
        last, seen = copy["scraped_ns"], gateways.scraped.copy()
        ages.append(age)
        gateways.step(fewest(gateways))
    assert max(ages) > 0.5


def test_what_would_be_is_what_then_is():
    gateways = made()
    for _ in range(50):
        gateways.step(fewest(gateways))
    q, replica = int(gateways.present()[0, 0]), 1
    own_s, all_s = gateways.what_if(ttft_weight=0.5, e2e_weight=2.0)
    gateways.copies["last"] = q + 1  # no more requests come
    gateways.step([[replica]])
    request, decision = gateways.replicas.requests[0, q], gateways.decisions[0, 0]
    ttft_s, e2e_s = (
        (request[f"{name}_token_ns"] - request["arrival_ns"]) / 1e9 for name in ("first", "last")
    )
    np.testing.assert_allclose(own_s[0, 0, replica], 0.5 * ttft_s + 2.0 * e2e_s, rtol=0.02)
    whole = 0.5 * decision["ttft_s"] + 2.0 * decision["e2e_s"]
    np.testing.assert_allclose(all_s[0, 0, replica], whole, rtol=0.05)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("round_s", -1.0), ("scrape_s", np.inf), ("num_gateways", 0)],
)
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=argument):
        Gateways(**{"num_envs": 1, "num_gateways": 1, "engines": [ROOMY], argument: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gateway", np.full(20, 5), "gateway has 5"),
        ("session", np.full(20, -2), "session has -2"),
        ("rates", np.ones(2), "2 rates of 3 replicas"),
        ("changes", np.array([(2, 0, 1.0), (1, 0, 1.0)], CHANGE), "time_ns has 1"),
        ("changes", np.array([(2, 0, np.nan)], CHANGE), "slowness has nan"),
        ("arrival_s", np.arange(20.0)[::-1], "arrival_s must rise"),
    ],
)
def test_bad_episodes_are_named(field, value, message):
    with pytest.raises(ValueError, match=message):
        Gateways(1, 1, [ROOMY] * 3, chain_tokens=32).reset(0, **drawn(20, 0) | {field: value})
