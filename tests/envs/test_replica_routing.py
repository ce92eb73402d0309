"""Replica routing: what rewards add up to, what rules come to, who is told what."""

from dataclasses import replace

import numpy as np
import pytest
from routing_episodes import SHORT, played

from marlserve.envs import replica_routing
from marlserve.envs.replica_routing import (
    BASELINES,
    FEATURES,
    GATEWAYS,
    MIXED,
    SHIFTING,
    UNKNOWN,
    Config,
    Measured,
    rules,
    traffic,
)
from marlserve.envs.replica_routing.observation import features


def test_credit_at_once_adds_up_to_credit_as_time_goes_by():
    """To what is under way as the first decision is made, and what estimates are off."""
    config = Config(**SHORT, e2e_weight=1.0, ttft_weight=2.0)
    at_once, later = (
        played(replace(config, reward=reward), num_envs=4)[1] for reward in ("foreseen", "latency")
    )
    np.testing.assert_allclose(at_once, later, rtol=0.15)
    assert np.corrcoef(at_once, later)[0, 1] > 0.98


FAULTS = {"change_every_s": 2.0, "change_s": (2.0, 4.0), "change_speeds": (0.0,)}


def test_with_faults_a_copy_is_as_alone():
    config = Config(**SHORT, **FAULTS)
    together, rewards = played(config, num_envs=4)
    for copy in range(4):
        alone, reward = played(config, num_envs=1, seed=copy)
        assert reward[0] == rewards[copy]
        for name, values in alone.metrics().items():
            assert values[0] == together.metrics()[name][copy], name


def test_failures_cost_what_they_are_set_to():
    config = Config(**SHORT, **FAULTS, reward="latency", failure_s=100.0)
    problem, total = played(config, num_envs=4)
    _, without = played(replace(config, failure_s=0.0), num_envs=4)
    failed = np.isin(problem.gateways.replicas.requests["status"], [4, 5]).sum(axis=1)
    since = (without - total) * config.reward_unit_s / 100.0  # those before the first decision not
    assert (since > 0).all()
    assert (since <= failed + 1e-3).all()


def test_each_gateway_has_turns_of_its_own():
    problem = replica_routing.Problem(replace(GATEWAYS, **SHORT))
    observations = problem.reset([0])
    act, sent = BASELINES["round_robin"].policy(problem), {g: [] for g in range(4)}
    for _ in range(60):
        present = problem.gateways.present()[0]
        seen = {agent: observations[:, i] for i, agent in enumerate(problem.agents)}
        actions = np.stack(list(act(seen).values()), axis=1)
        for g in np.flatnonzero(present >= 0):
            sent[g].append(actions[0, g])
        observations, *_ = problem.step(actions)
    for g, replicas in sent.items():
        assert len(replicas) > 5
        assert replicas == [(g + i) % 4 for i in range(len(replicas))]


def test_rewards_are_minus_the_weighted_seconds_that_requests_take():
    config = Config(episode_s=20.0, warm_up_s=0.0, ttft_weight=2.0)
    problem, total = played(config, num_envs=4)
    metrics = problem.metrics()
    seconds = metrics["completed"] * (metrics["mean_e2e_s"] + 2 * metrics["mean_ttft_s"])
    np.testing.assert_allclose(-total * config.reward_unit_s, seconds, rtol=0.02)


@pytest.mark.slow
def test_the_order_of_the_rules_on_mixed_speeds():
    e2e_s = {
        name: played(replace(MIXED, episode_s=60.0), name)[0].metrics()["mean_e2e_s"].mean()
        for name in ("random", "least_requests", "marginal_cost", "least_marginal_cost")
    }
    assert e2e_s["random"] > 2 * e2e_s["least_requests"]
    assert e2e_s["least_requests"] > 1.1 * e2e_s["marginal_cost"]
    assert e2e_s["marginal_cost"] > 0.95 * e2e_s["least_marginal_cost"]


def test_speeds_are_told_or_not():
    speed = FEATURES.index("speed")
    for config, told in ((MIXED, [1.0, 0.5, 0.5, 0.25]), (UNKNOWN, [0.0] * 4)):
        problem = replica_routing.Problem(replace(config, **SHORT))
        np.testing.assert_allclose(problem.reset([0])[0, 0, :, speed], told)
    orders = {tuple(problem.speeds[0]) for _ in range(20) if problem.reset([None]) is not None}
    assert len(orders) > 5  # and places tell nothing


def test_who_has_no_request_sees_none():
    problem = replica_routing.Problem(replace(GATEWAYS, **SHORT))
    observations, has_request = problem.reset([0]), FEATURES.index("has_request")
    request_features = [
        FEATURES.index(name) for name in ("missing_tokens", "matched_share", "home")
    ]
    for _ in range(50):
        shown = observations[0, :, 0, has_request] > 0
        assert 1 <= shown.sum() <= 4
        assert (observations[0, ~shown][..., request_features] == 0).all()
        observations, *_ = problem.step(np.zeros((1, 4), int))


def test_what_is_down_is_masked_and_all_requests_are_accounted_for():
    problem = replica_routing.Problem(Config(**SHORT, **FAULTS), 4)
    problem.reset(range(4))
    rng, masked = np.random.default_rng(0), 0
    while problem._running.any():
        mask = problem.action_masks()[:, 0, 0]
        masked += (~mask).sum()
        actions = (rng.random(mask.shape) * mask).argmax(axis=1)
        problem._running[:] = True
        problem.step(actions[:, None])
        if (problem.gateways.copies["over"] > 0).all():
            break
    assert masked > 50
    metrics, copies = problem.metrics(), problem.gateways.copies
    came = problem.gateways.asked["arrival_ns"] >= copies["warm_ns"][:, None]
    came &= np.arange(came.shape[1]) < copies["last"][:, None]
    np.testing.assert_array_equal(metrics["completed"] + metrics["failed"], came.sum(axis=1))
    assert metrics["failed"].sum() > 0


def test_replicas_drain_and_join_as_planned():
    """The first restarts, the last comes late: masks say so, and what follows them never fails."""
    plan = {"drain": (0,), "drain_s": (3.0,), "join": (3, 0), "join_s": (5.0, 9.0)}
    problem = replica_routing.Problem(Config(**SHORT, **plan), 2)
    problem.reset([0, 1])
    rng, seen = np.random.default_rng(0), []
    while problem._running.all():
        mask = problem.action_masks()[:, 0, 0]
        at_s = problem.gateways.copies["clock_ns"] / 1e9 - 10.0
        seen += [(int(at), row.tolist()) for at, row in zip(at_s, mask, strict=True)]
        problem.step((rng.random(mask.shape) * mask).argmax(axis=1)[:, None])
    for at, row in ((1, [1, 1, 1, 0]), (4, [0, 1, 1, 0]), (7, [0, 1, 1, 1]), (12, [1, 1, 1, 1])):
        of_second = [tuple(mask) for second, mask in seen if second == at]
        assert set(of_second) == {tuple(map(bool, row))}
    assert (problem.metrics()["failed"] == 0).all()


def test_a_file_is_played_as_conversations_are(tmp_path):
    rows = [
        f'{{"timestamp": {250 * i}, "input_length": 600, "output_length": {i % 9}, '
        f'"hash_ids": [7, {i}]}}'
        for i in range(2_000)
    ]
    (tmp_path / "trace.jsonl").write_text("\n".join(rows))
    config = Config(**SHORT, trace="file", trace_path=str(tmp_path / "trace.jsonl"))
    problem, _ = played(config, num_envs=2)
    metrics = problem.metrics()
    assert (metrics["completed"] > 100).all()
    assert (metrics["mean_ttft_s"] > 0).all()  # that of no output is when it ended
    # The first 512 tokens are in all prompts.
    assert (metrics["prefix_hit_share"] > 0.8).all()


def test_phases_differ_in_load_and_in_who_asks():
    config = replace(SHIFTING, phase_s=40.0, episode_s=340.0)
    requests, _ = traffic.episode(config, np.random.default_rng(3))
    assert requests.duration_s == pytest.approx(400.0)
    counts, _ = np.histogram(requests.time_s, np.arange(0.0, 401.0, 20.0))
    steady, _ = traffic.episode(replace(MIXED, episode_s=340.0), np.random.default_rng(3))
    level, _ = np.histogram(steady.time_s, np.arange(0.0, 401.0, 20.0))
    assert counts.std() / counts.mean() > 1.5 * level.std() / level.mean()
    family = requests["session"] >> 40
    assert set(family) == {0, 1}
    # A kind of traffic goes on where it was left: conversations that began are continued.
    changes = np.flatnonzero(np.diff(family))
    later = requests["session"][changes[1] + 1 :]
    assert np.isin(later, requests["session"][: changes[0] + 1]).sum() > 5


def measured(**known):
    """One gateway's view of three replicas at rest, but for what is known."""
    zeros = dict.fromkeys(Measured._fields, np.zeros(3))
    single = {"scrape_age_s": 0.0, "home": -1, "gateway": 0}
    single |= {"request_prompt_tokens": np.array(100.0), "request_output_tokens": np.array(0.0)}
    given = {name: np.array(values, float) for name, values in known.items()}
    return Measured(**{**zeros, **single, "up": np.ones(3), **given})


def test_scorers_are_weighed():
    seen = measured(waiting=[4, 0, 2], kv_usage=[0.0, 0.5, 1.0], matched_tokens=[100, 50, 0])
    found = rules.scorers(seen, MIXED, prefix=3.0, queue=2.0, cache=2.0)
    np.testing.assert_allclose(-found, [3 + 0 + 2, 1.5 + 2 + 1, 0 + 1 + 0])
    level = rules.scorers(measured(kv_usage=[0.0, 0.5, 1.0]), MIXED)
    np.testing.assert_allclose(-level, [2 + 2, 2 + 1, 2 + 0])  # no queue is longer than others


@pytest.mark.parametrize(("tokens", "chosen"), [(100.0, 2), (50_000.0, 1)])
def test_long_prompts_have_the_fastest_replica_to_themselves(tokens, chosen):
    busy = measured(
        requests=[5, 9, 3], speed=[1.0, 2.0, 1.0], request_prompt_tokens=np.array(tokens)
    )
    assert rules.size_split(busy, MIXED).argmin() == chosen


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"traffic": ("long", "chat"), "sustainable_per_s": (1.0, 1.0)}, "blocks of"),
        ({"phase_s": 0.5}, "phase_s is 0.5"),
        (
            {
                **{"trace": "file", "trace_path": "x"},
                **{"traffic": ("long", "chat"), "sustainable_per_s": (1.0, 1.0)},
            },
            "traffic is",
        ),
        ({"trace": "file"}, "trace_path is ''"),
        ({"drain": (4,), "drain_s": (1.0,)}, "drain is"),
        ({"join": (0, 1), "join_s": (1.0,)}, "join is"),
        ({"drain": (0, 0), "drain_s": (1.0, 2.0)}, "by turns"),
        ({"join": (0,), "join_s": (1.0,), "change_every_s": 9.0}, "change_every_s is 9.0"),
        ({"episode_s": 3600.0, "warm_up_s": 3600.0, "load": (10.0, 10.0)}, "load"),
    ],
)
def test_what_cannot_be_played_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        replica_routing.Problem(Config(**fields)).reset([0])


@pytest.mark.parametrize("rule", ["marginal_cost", "adaptive_marginal_cost"])
def test_the_view_of_costs_shows_what_the_formula_makes_of_each_replica(rule):
    """The cheapest has 0; where no speed is told, by the speeds that the formula estimates."""
    told = rule == "marginal_cost"
    config = replace(SHIFTING if told else UNKNOWN, **SHORT, view="costs")
    problem = replica_routing.Problem(config, 4)
    extra, act = features(config).index("extra_s"), BASELINES[rule].policy(problem)
    observations = problem.reset(range(4))
    for _ in range(50):
        seen = observations[..., extra]
        chosen = act({"gateway_0": observations[:, 0]})["gateway_0"]
        assert ((seen >= 0) & (seen < 1)).all()
        np.testing.assert_array_equal(np.take_along_axis(seen[:, 0], chosen[:, None], 1), 0)
        observations, *_ = problem.step(chosen[:, None])
