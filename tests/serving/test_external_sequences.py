"""The algorithms of `marlserve.policies` and programs: what clients play, and what arrives."""

from random import Random

import numpy as np
import pytest
import torch
from external_cases import SEEN
from external_teams import Lines, live, own_policies, spaces_of
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from toy_memory import Echo
from toy_unequal import ACTIONS, Unequal

from marlserve import policies
from marlserve.policies.export import file
from marlserve.policies.sampling.sequences import (
    ACTION_MASK,
    ACTIVE,
    FIRST,
    HIDDEN,
    LENGTH,
    OBS,
    REWARDS,
    STATE,
    TERMINATED,
)
from marlserve.policies.sampling.sequences import (
    ACTIONS as DONE,
)
from marlserve.serving.client.playing import Playing
from marlserve.serving.trainer.external import external, external_team
from marlserve.serving.trainer.runners.joint import Joint
from marlserve.serving.wire.policy_parts import Published
from marlserve.serving.wire.seats import Seat

NUMBERS = Box(np.array([-1.0, 0.0], np.float32), np.array([3.0, 1.0], np.float32))
NOWHERE = {"address": "127.0.0.1:1", "secret": ""}


def playing_of(config, seat, epsilon=0.0, evaluator="numpy"):
    """The first policy of a config, as a module and as a client plays it."""
    joint = Joint(config, {"*": seat}, 0)
    module = joint.module()
    policy, noises = joint.policies(module, {})
    published = Published("run", 1, *file.encoded(policy), epsilon, noises)
    return module["shared"].unwrapped().eval(), Playing(published, evaluator)


@pytest.mark.parametrize("evaluator", ["numba", "numpy"])
@pytest.mark.parametrize("name", ["ppo", "a2c", "sac", "td3", "sac_gru"])
def test_numbers_are_drawn_as_the_module_draws_them(name, evaluator):
    module, playing = playing_of(policies.config(name), Seat(SEEN, NUMBERS), evaluator=evaluator)
    seen, random = np.linspace(-1.0, 1.0, 4, dtype=np.float32), Random(0)
    drawn = [playing.choose("any", seen, None, None, random) for _ in range(1_000)]
    many = np.repeat(seen[None], 4_000, axis=0)
    batch = {Columns.OBS: torch.from_numpy(many)}
    if module.is_stateful():
        batch = {
            Columns.OBS: batch[Columns.OBS][:, None],
            Columns.STATE_IN: {"h": torch.zeros(4_000, 64)},
        }
    torch.manual_seed(0)
    with torch.no_grad():
        expected = module._forward_exploration(batch, t=10**6)[Columns.ACTIONS].reshape(-1, 2)
    ours, theirs = np.stack([choice.action for choice in drawn]), expected.numpy()
    spread = theirs.std(0)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 5.0 * spread / np.sqrt(1_000)).all()
    np.testing.assert_allclose(ours.std(0), spread, rtol=0.15)
    np.testing.assert_allclose(
        drawn[0].told,
        np.clip((ours[0] + 1.0) * [2.0, 0.5] - [1.0, 0.0], NUMBERS.low, NUMBERS.high),
        atol=1e-5,
    )
    if name in ("ppo", "a2c"):
        batch = {Columns.OBS: batch[Columns.OBS][:1_000], Columns.ACTIONS: torch.from_numpy(ours)}
        logp = module._distribution(batch).logp(batch[Columns.ACTIONS]).detach().numpy()
        got = [choice.log_probability for choice in drawn]
        np.testing.assert_allclose(got, logp, atol=1e-4)
    else:
        assert np.abs(ours).max() <= 1.0


def test_masks_are_obeyed_and_the_chance_is_that_of_the_module():
    seat = Seat(SEEN, MultiDiscrete([3, 2]), masked=True)
    module, playing = playing_of(policies.config("ppo"), seat)
    seen, random = np.ones(4, np.float32), Random(0)
    legal = seat.legal([0, 1, 1, 1, 0])
    drawn = [playing.choose("any", seen, legal, None, random) for _ in range(300)]
    done = np.array([choice.action for choice in drawn])
    assert set(map(tuple, done.tolist())) == {(1, 0), (2, 0)}
    batch = {
        Columns.OBS: torch.ones(300, 4),
        "action_mask": torch.from_numpy(np.repeat(legal[None], 300, 0)).float(),
    }
    logp = module._distribution(batch).logp(torch.from_numpy(done)).detach().numpy()
    np.testing.assert_allclose([c.log_probability for c in drawn], logp, atol=1e-5)


@pytest.mark.parametrize("evaluator", ["numba", "numpy"])
@pytest.mark.parametrize("name", ["qmix", "sac_gru"])
def test_what_is_remembered_is_what_the_module_remembers(name, evaluator):
    training = {"mixer": "vdn"} if name == "qmix" else {}
    config = policies.config(name, hidden_size=8, **training)
    module, playing = playing_of(config, Seat(SEEN, Discrete(3)), evaluator=evaluator)
    rng, random = np.random.default_rng(0), Random(0)
    hidden, memory = module.get_initial_state()["h"][None], None
    for _ in range(5):
        seen = rng.normal(size=4).astype(np.float32)
        choice = playing.choose("any", seen, None, memory, random)
        batch = {Columns.OBS: torch.from_numpy(seen)[None, None], Columns.STATE_IN: {"h": hidden}}
        with torch.no_grad():
            out = module._forward_inference(batch)
        hidden, memory = out[Columns.STATE_OUT]["h"], choice.memory
        np.testing.assert_allclose(memory, hidden[0].numpy(), atol=1e-5)
        if name == "qmix":
            assert choice.told == int(out[Columns.ACTIONS])


def test_a_team_of_unequal_agents_arrives_as_rows():
    """Four agents with spaces and policies of their own, of which three have masks."""
    env = Unequal(masks=True)
    config = policies.config("ppo").multi_agent(**own_policies(env))
    with Lines(config, spaces_of(env, masks=True), most_steps=3) as lines:
        (lived,) = live(lines.agent, env, 1, seed=0)
        lines.agent.close()
        fragments = lines.runner.received(5)
        assert [len(x) for x in fragments] == [3, 2]
        (rows,) = lines.runner._rows.sequences(fragments)
    assert rows[LENGTH].tolist() == [3, 2]
    assert rows[FIRST].tolist() == [True, False]
    assert not rows[TERMINATED].any()
    assert rows[ACTIVE].all(-1).tolist() == [[True] * 4, [True] * 3 + [False]]
    for index, agent in enumerate(env.possible_agents):
        seen, done = rows[OBS][:, :, index], rows[DONE][:, :, index]
        for step in range(5):
            row, at = divmod(step, 3)
            flat = lived.seen[agent][step].ravel()
            np.testing.assert_array_equal(seen[row, at, : flat.size], flat)
            told = np.ravel(lived.told[agent][step])
            assert ACTIONS[agent].contains(np.asarray(lived.told[agent][step])) or agent == "a1"
            own = done[row, at, : told.size]
            if agent == "a3":
                own = np.clip(2.0 + (own + 1.0) * 2.0, 2.0, 6.0)
            np.testing.assert_allclose(own + (5 if agent == "a2" else 0), told, atol=1e-5)
            assert rows[REWARDS][row, at, index] == np.float32(lived.rewards[agent][step])
    masks = rows[ACTION_MASK]
    assert masks[0, 0, 0].tolist() == [[True, True, False, False], [True, False, False, False]]
    assert masks[0, 0, 1].tolist() == [[True, True, False, False]] * 2
    assert not masks[1, 3].any()
    assert (rows[Columns.ACTION_LOGP][0] != 0).all()


def test_rows_of_a_memory_begin_with_what_was_remembered():
    env = Echo(num_agents=2, length=6)
    config = policies.config("qmix", mixer="qmix", sequence_length=4, hidden_size=8)
    config.training(observe_agent_index=True, epsilon=0.5)
    with Lines(config, spaces_of(env), state_size=3) as lines:
        live(lines.agent, env, 2, seed=0, state_size=3)
        lines.agent.close()
        fragments = lines.runner.received(12)
        (rows,) = lines.runner._rows.sequences(fragments)
        module = lines.runner.module["shared"].unwrapped().eval()
    assert rows[LENGTH].tolist() == [4, 2, 4, 2]
    assert rows[TERMINATED].tolist() == [False, True, False, True]
    assert rows[FIRST].tolist() == [True, False, True, False]
    assert (rows[STATE][:, 0] == 1.0).all()
    np.testing.assert_array_equal(rows[OBS][:, 0, :, -2:], np.repeat(np.eye(2)[None], 4, 0))
    assert not rows[HIDDEN][[0, 2]].any()
    for first in (0, 2):
        seen = torch.from_numpy(rows[OBS][first, :4]).transpose(0, 1)  # [N, T, O]
        with torch.no_grad():
            _, hidden = module.network(seen.transpose(0, 1), torch.zeros(2, 8))
        np.testing.assert_allclose(rows[HIDDEN][first + 1], hidden.numpy(), atol=1e-5)


def test_a_long_episode_is_of_several_samples():
    """Each is followed by its updates, of which one large sample would have too few."""
    config = policies.config("dqn")
    with Lines(config, {"*": (SEEN, Discrete(3))}) as lines:
        for _ in range(192):
            lines.agent.act(np.zeros(4, np.float32)).reward(1.0)
        lines.agent.end(terminated=True)
        lines.agent.close()
        samples = [lines.runner.sample() for _ in range(3)]
    assert [rows.env_steps() for (rows,) in samples] == [64, 64, 64]


def test_who_leaves_is_inactive_from_then_on():
    config = policies.config("dqn", sequence_length=2)
    config.env_runners(num_envs_per_env_runner=1, rollout_fragment_length=3)
    spaces = {name: (SEEN, Discrete(3)) for name in ("left", "right")}
    with Lines(config, spaces) as lines:
        team = lines.agent.team()
        both = {name: np.zeros(4, np.float32) for name in spaces}
        for step in range(3):
            shown = both if step < 1 else {"right": np.full(4, step, np.float32)}
            for decision in team.act(shown).values():
                decision.reward(1.0)
        with pytest.raises(ValueError, match=r"there are \['right'\]"):
            team.act(both)
        team.end(terminated=True)
        with pytest.raises(ValueError, match="use team"):
            lines.agent.act(both["left"])
        lines.agent.close()
        (rows,) = lines.runner.sample()
        metrics = lines.runner.get_metrics()
    assert rows[LENGTH].tolist() == [2, 1]
    assert rows[ACTIVE].tolist() == [
        [[True, True], [False, True], [False, True]],
        [[False, True], [False, True], [False, False]],
    ]
    assert metrics["episode_return_mean"].peek() == 4.0
    assert metrics["agent_episode_returns_mean"]["left"].peek() == 1.0


@pytest.mark.parametrize(
    ("config", "spaces", "more", "what"),
    [
        ("neural_ucb", (SEEN, Discrete(3)), {}, "explores by what its learner knows"),
        ("dqn", (SEEN, NUMBERS), {}, "DQN plays Discrete"),
        ("td3", (SEEN, Discrete(3)), {}, "TD3 plays Box"),
        ("sac", (SEEN, Box(-np.inf, np.inf, (1,))), {}, "plays bounded Box"),
        ("qmix", (SEEN, Discrete(3)), {}, "state_size is 0"),
        ("ppo", (SEEN, Discrete(3)), {"state_size": 2}, "must be 0"),
        ("qmix", (SEEN, Discrete(3)), {"mixer": "vdn", "coherence": 0.5}, "coherence is 0.5"),
        ("ppo", (SEEN, Discrete(3)), {"observe_agent_index": True}, "agents that are named"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(config, spaces, more, what):
    training = {key: value for key, value in more.items() if key != "state_size"}
    given = policies.config(config, **training)
    with pytest.raises(ValueError, match=what):
        external_team(given, NOWHERE, "p", {"*": spaces}, more.get("state_size", 0))


def test_what_rllibs_own_cannot_is_said():
    masked = Dict({"observation": SEEN, "action_mask": MultiBinary(3)})
    for seen, played, what in (
        (masked, Discrete(3), "knows no action masks"),
        (SEEN, Discrete(3, start=1), "from 0 on"),
        (SEEN, NUMBERS, "cannot be exported"),
    ):
        with pytest.raises(ValueError, match=what):
            external(PPOConfig(), NOWHERE, "p", seen, played)
    with pytest.raises(ValueError, match="has one policy, and agents are named"):
        external_team(PPOConfig(), NOWHERE, "p", {"a": (SEEN, Discrete(3))})
