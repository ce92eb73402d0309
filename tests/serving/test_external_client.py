"""A program and a front: what is decided, and what arrives of it."""

import gc
from random import Random

import numpy as np
import pytest
from external_cases import SEEN as SPACE
from external_cases import STEP_S, agent_of, contract, everything, inlet_of, play, policy, until
from gymnasium.spaces import MultiDiscrete

from marlserve.policies.export import file
from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.serving.client.playing import Playing
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire.policy_parts import Published
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import GOES_ON, TERMINATED, TRUNCATED

SEEN = np.zeros(4, np.float32)


def test_what_is_lived_through_arrives(agent, inlet):
    for step in range(3):
        decision = agent.act(np.full(4, step, np.float32))
        assert (decision.action, decision.version, decision.log_probability) == (2, 1, 0.0)
        decision.reward(10.0 + step)
    agent.end(terminated=True)
    agent.act(SEEN).reward(1.0)
    agent.end(truncated=True, observation=np.ones(4))
    agent.close()
    first, second = everything(inlet)
    np.testing.assert_array_equal(first.only.observations[:, 0], [0, 1, 2, 2])
    np.testing.assert_array_equal(first.only.actions, [2, 2, 2])
    np.testing.assert_array_equal(first.only.rewards, [10, 11, 12])
    np.testing.assert_array_equal(first.only.outputs, [[0, 1, 2]] * 3)
    np.testing.assert_array_equal(first.versions, [1, 1, 1])
    assert (first.ending, second.ending) == (TERMINATED, TRUNCATED)
    assert (first.first_step, first.only.return_before, first.agent) == (0, 0.0, "agent")
    np.testing.assert_array_equal(second.only.observations[-1], np.ones(4))
    assert first.episode != second.episode
    assert (agent.link.sent, agent.outbox.lost.total()) == (4, 0)


def test_a_truncated_episode_without_its_last_observation_lacks_its_last_step(agent, inlet):
    for step in range(3):
        last = agent.act(np.full(4, step, np.float32))
        assert last.reward(1.0)
    agent.end(truncated=True)
    assert not last.reward(1.0)
    assert not agent.reward(last.id, 1.0)
    assert agent.books.late == 2
    agent.close()
    (only,) = everything(inlet)
    np.testing.assert_array_equal(only.only.observations[:, 0], [0, 1, 2])
    assert (len(only), only.ending) == (2, TRUNCATED)


def test_an_episode_whose_only_step_is_left_out_leaves_nothing(agent, inlet):
    decision = agent.act(np.zeros(4, np.float32))
    agent.end(truncated=True)
    assert not agent.books.open
    assert not decision.reward(1.0)
    agent.close()
    assert not everything(inlet)


def test_long_episodes_are_sent_in_parts(front, inlet):
    with agent_of(front, most_steps=4) as agent:
        assert agent.wait_for_policy(60)
        play(agent, episodes=1, length=10)
    parts = everything(inlet)
    assert [(len(x), x.first_step, x.only.return_before) for x in parts] == [
        (4, 0, 0.0),
        (4, 4, 4.0),
        (2, 8, 8.0),
    ]
    assert [x.ending for x in parts] == [GOES_ON, GOES_ON, TERMINATED]
    assert len({x.episode for x in parts}) == 1
    np.testing.assert_array_equal(parts[0].only.observations[-1], parts[1].only.observations[0])


def test_newer_policies_are_played_at_once(agent, inlet):
    agent.act(SEEN).reward(0.0)
    inlet.publish(policy((5.0, 1.0, 2.0)), 0.0)
    until(lambda: agent.link.newest.version == 2)
    decision = agent.act(SEEN)
    decision.reward(0.0)
    assert (decision.action, decision.version) == (0, 2)
    agent.end(terminated=True)
    agent.close()
    (only,) = everything(inlet)
    np.testing.assert_array_equal(only.versions, [1, 2])


def test_of_an_on_policy_learner_a_newer_policy_begins_a_fragment(front):
    inlet = inlet_of(front, contract(on_policy=True, most_staleness=1))
    inlet.publish(policy(outputs="logits"), 0.0)
    with agent_of(front, seed=1) as agent:
        assert agent.wait_for_policy(60)
        agent.act(SEEN).reward(0.0)
        inlet.publish(policy(outputs="logits"), 0.0)
        until(lambda: agent.link.newest.version == 2)
        agent.act(np.ones(4)).reward(0.0)
        agent.end(terminated=True)
    first, second = everything(inlet)
    assert (first.versions.tolist(), second.versions.tolist()) == ([1], [2])
    assert (first.ending, second.first_step) == (GOES_ON, 1)
    np.testing.assert_array_equal(first.only.observations[-1], second.only.observations[0])


def test_rewards_may_come_late(front, inlet):
    with agent_of(front, reward_deadline_s=60.0) as agent:
        assert agent.wait_for_policy(60)
        decisions = [agent.act(SEEN) for _ in range(3)]
        agent.end(terminated=True)
        assert inlet.take(1, STEP_S) == []  # it waits for them
        assert decisions[0].reward(1.0)
        assert agent.reward(decisions[1].id, 2.0)
        decisions[2].reward(7.0)
        decisions[2].reward(3.0)  # in place of what was said before
        (only,) = inlet.take(3, 60.0)
        np.testing.assert_array_equal(only.only.rewards, [1, 2, 3])
        until(lambda: not agent.books.open)
        assert not decisions[0].reward(1.0)
        assert not agent.reward(decisions[1].id, 2.0)
        assert agent.books.late == 2
        assert agent.outbox.defaulted == 0


def test_rewards_that_never_come_are_the_default(front, inlet):
    with agent_of(front, reward_deadline_s=0.2, default_reward=-5.0) as agent:
        assert agent.wait_for_policy(60)
        agent.act(SEEN).reward(1.0)
        agent.act(SEEN)
        agent.end(terminated=True)
        (only,) = inlet.take(2, 60.0)
    np.testing.assert_array_equal(only.only.rewards, [1, -5])
    assert agent.outbox.defaulted == 1


def test_without_a_policy_the_fallback_acts_and_nobody_learns_from_it(front):
    inlet = inlet_of(front)
    with agent_of(front, fallback_action={"agent": 1, "other": [0.5]}) as agent:
        with pytest.raises(ValueError, match="'else' has no fallback_action"):
            agent.episode("else").act(SEEN)
        assert agent.episode("other").act(SEEN).action == [0.5]
        decision = agent.act(SEEN)
        assert (decision.action, decision.version) == (1, 0)
        assert not decision.reward(1.0)
        agent.end(terminated=True)
        inlet.publish(policy(), 0.0)
        assert agent.wait_for_policy(60)
        play(agent, 1, length=2)
    assert [len(x) for x in everything(inlet)] == [2]
    assert agent.books.fallbacks == 2


def test_what_a_program_does_with_an_action_is_not_learned_from(front):
    """It is the program's, to change as it likes."""
    bias = np.array([0.0, 1.0, 2.0, 5.0], np.float32)
    weights = {"q.weight": np.zeros((4, 4), np.float32), "q.bias": bias}
    layers = (Layer("q", "linear", ("observation",), (4,)),)
    two = MultiDiscrete([2, 2])
    network = Network(SPACE, two, layers, weights, "action values")
    inlet = inlet_of(front, contract(seats={"*": Seat(SPACE, two)}))
    inlet.publish(PolicyFile({"q": network}, {"*": "q"}), 0.0)
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        decision = agent.act(SEEN)
        decision.action[0] = 7
        decision.reward(1.0)
        agent.end(terminated=True)
    (only,) = everything(inlet)
    assert only.only.actions.tolist() == [[1, 1]]


def test_the_garbage_collector_has_nothing_to_do_with_steps_that_wait(agent):
    for _ in range(10):
        agent.act(SEEN).reward(1.0)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(900):
        agent.act(SEEN).reward(1.0)
    assert len(agent.books.open) == 910
    assert len(gc.get_objects()) < before + 100


def test_who_acts_alone_shows_no_state(front):
    inlet_of(front, contract(state_size=2)).publish(policy(), 0.0)
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        with pytest.raises(ValueError, match="the state has shape None; it must be \\(2,\\)"):
            agent.act(SEEN)


def test_several_agents_and_episodes_side_by_side(front, inlet):
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        sides = {name: agent.episode(name) for name in ("left", "right")}
        for step in range(2):
            for value, side in enumerate(sides.values()):
                side.act(np.full(4, value, np.float32)).reward(float(step))
        for side in sides.values():
            side.end(terminated=True)
    got = {x.agent: x for x in everything(inlet)}
    assert sorted(got) == ["left", "right"]
    np.testing.assert_array_equal(got["left"].only.observations, np.zeros((3, 4)))
    np.testing.assert_array_equal(got["right"].only.observations, np.ones((3, 4)))


def test_bad_observations_and_rewards_are_refused_here(agent):
    with pytest.raises(ValueError, match="shape"):
        agent.act(np.zeros(5))
    with pytest.raises(ValueError, match="not finite"):
        agent.act(np.full(4, np.nan))
    with pytest.raises(ValueError, match="must be finite"):
        agent.act(SEEN).reward(float("nan"))
    with pytest.raises(ValueError, match="one of them must be"):
        agent.end()
    with pytest.raises(ValueError, match="one of them must be"):
        agent.end(terminated=True, truncated=True)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="when_full is 'burn'"):
        ClientSettings(when_full="burn")
    with pytest.raises(ValueError, match="'spill' needs a folder"):
        ClientSettings(when_full="spill")
    with pytest.raises(ValueError, match="buffer_steps is 10; allowed is whole, at least 1000"):
        ClientSettings(buffer_steps=10)


@pytest.mark.parametrize("evaluator", ["numba", "numpy"])
@pytest.mark.parametrize("outputs", ["logits", "action values"])
def test_actions_are_drawn_with_the_chance_that_is_said(evaluator, outputs):
    values = np.array([0.3, -1.0, 1.2])
    manifest, weights = file.encoded(policy(values, outputs))
    playing = Playing(Published("run", 1, manifest, weights, 0.3), evaluator)
    random = Random(0)
    drawn = [playing.choose("agent", SEEN, None, None, random) for _ in range(6_000)]
    np.testing.assert_allclose(drawn[0].outputs, values, rtol=1e-6)
    if outputs == "logits":
        best = np.exp(values) / np.exp(values).sum()
    else:
        best = np.array([0.0, 0.0, 1.0])
    expected = 0.7 * best + 0.1
    counts = np.bincount([choice.told for choice in drawn], minlength=3)
    deviations = np.sqrt(6_000 * expected * (1.0 - expected))
    assert (np.abs(counts - 6_000 * expected) < 4.0 * deviations).all()
    for choice in drawn[:50]:
        assert choice.action == [choice.told]
        assert choice.log_probability == pytest.approx(np.log(expected[choice.told]), rel=1e-5)
