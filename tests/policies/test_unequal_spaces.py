"""Agents with different spaces: padded arrays between, and each module sees its own."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule
from toy_modules import config_of, sample
from toy_unequal import ACTIONS, OBSERVATIONS

from marlserve import policies
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.policies.models.joint import CHOSEN
from marlserve.policies.sampling.acting import agent_groups
from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.joint_actions import JointActions
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv
from marlserve.policies.sampling.own_spaces import own_spaces
from marlserve.policies.sampling.runner import MIXER, VectorEnvRunner
from marlserve.policies.training.independent import LOSS_MASK, batch_by_policy
from marlserve.policies.training.qmix_learner import learner_batch

pytestmark = pytest.mark.slow

AGENTS = ("a0", "a1", "a2", "a3")
BEST = [1.0, 2.0, 1.0, 0.0]  # rewards of who copies what it sees


class Copycat(TorchRLModule):
    """Acts as `Unequal` rewards, and wants its inputs in its own shapes."""

    def _forward(self, batch, t=None, **kwargs):
        seen, space = batch[Columns.OBS], self.action_space
        assert seen.shape[1:] == self.observation_space.shape
        if "action_mask" in batch:
            assert batch["action_mask"].shape[1:] == ActionArrays(space).legal.shape
        seen = seen.flatten(1)
        if isinstance(space, Discrete):
            return {Columns.ACTIONS: seen[:, 0].long() - int(space.start)}
        if isinstance(space, MultiDiscrete):
            return {Columns.ACTIONS: seen[:, :2].long()}
        return {Columns.ACTIONS: seen[:, :1].expand(-1, 2)}


def own_policy(agent_id, episode=None, **kwargs):
    return f"of_{agent_id}"


def runner_of(**kwargs):
    names = tuple(own_policy(agent) for agent in AGENTS[: kwargs.get("num_agents", 4)])
    config = config_of("toy_unequal:Unequal", Copycat, policies=names, **kwargs)
    config.normalize_actions = False
    return VectorEnvRunner(config=config, worker_index=0)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("num_agents", [3, 4])
def test_every_module_sees_and_acts_in_its_own_spaces(num_agents, masks):
    runner = runner_of(num_agents=num_agents, masks=masks)
    for agent in AGENTS[:num_agents]:
        own = OBSERVATIONS[agent], ACTIONS[agent]
        assert runner.get_spaces()[own_policy(agent)] == own
    rows = sample(runner, num_episodes=4)
    valid = rows.valid()
    np.testing.assert_array_equal(
        rows["rewards"][valid], np.tile(BEST[:num_agents], (valid.sum(), 1))
    )
    assert rows["obs"].shape[3:] == (4,)
    assert rows["actions"].shape[3:] == (2,)
    assert not rows["obs"][:, :, 2, 1:].any()
    assert not rows["actions"][:, :, [0, 2], 1:].any()
    assert "action_mask" in rows  # a1's components differ


@pytest.mark.parametrize("masks", [False, True])
def test_random_actions_are_legal_for_everyone(masks):
    runner = runner_of(masks=masks)
    rows = sample(runner, num_episodes=60, random_actions=True)  # the toy refuses illegal ones
    chosen = rows["actions"][rows.valid()]
    seen = [len(np.unique(chosen[:, 0, 0])), *(len(np.unique(chosen[:, 1, c])) for c in (0, 1))]
    assert seen == ([2, 2, 2] if masks else [2, 2, 4])
    assert len(np.unique(chosen[:, 2, 0])) == (2 if masks else 3)
    assert 2 <= chosen[:, 3].min() < chosen[:, 3].max() <= 6


def test_each_policy_learns_from_what_is_its_own():
    rows = sample(runner_of(masks=True), num_episodes=4)
    groups = agent_groups(AGENTS, own_policy)
    own = own_spaces(groups, AGENTS, OBSERVATIONS, ACTIONS)
    batches = batch_by_policy(rows, groups, own).policy_batches
    for i, agent in enumerate(AGENTS):
        batch, space = batches[own_policy(agent)], ACTIONS[agent]
        wide = rows["obs"][:, :, i].reshape(*rows["obs"].shape[:2], -1)
        size = int(np.prod(OBSERVATIONS[agent].shape))
        np.testing.assert_array_equal(
            batch["obs"], wide[..., :size].reshape(*wide.shape[:2], *OBSERVATIONS[agent].shape)
        )
        assert batch["actions"].shape[2:] == space.shape
        assert np.issubdtype(batch["actions"].dtype, np.floating) == isinstance(space, Box)
        assert ("action_mask" in batch) == (not isinstance(space, Box))
        assert batch[LOSS_MASK].sum() == rows.env_steps()
    assert batches["of_a1"]["action_mask"].shape[2:] == (2, 4)


def test_the_value_of_a_team_is_the_sum_over_different_agents():
    runner = runner_of(num_agents=3)
    rows = sample(runner, num_episodes=4)
    agents = AGENTS[:3]
    groups = agent_groups(agents, own_policy)
    config = policies.config("qmix", mixer="vdn", hidden_size=8, use_gru=False, sequence_length=4)
    config.multi_agent(policies=set(groups), policy_mapping_fn=own_policy)
    spec = config.get_multi_rl_module_spec(spaces=runner.get_spaces())
    team = spec.build()
    for module_id in groups:
        team[module_id].make_target_networks()
    own = own_spaces(groups, agents, OBSERVATIONS, ACTIONS)
    batch = {
        module_id: {name: torch.as_tensor(column) for name, column in columns.items()}
        for module_id, columns in learner_batch(rows, groups, own).policy_batches.items()
    }
    chosen = team.forward_train(batch)[MIXER][CHOSEN]  # [T, R]
    for row, t in np.argwhere(rows.valid())[::4]:
        total = 0.0
        for module_id in groups:
            seen = batch[module_id]["obs"][row, t, 0][None, None]
            values, _ = team[module_id].network(seen, None)  # [1, 1, H, A]
            actions = batch[module_id]["actions"][row, t, 0]
            total += sum(values[0, 0, h, a].item() for h, a in enumerate(actions))
        assert chosen[t, row].item() == pytest.approx(total, rel=1e-5)


def test_agents_of_one_policy_must_be_alike():
    config = config_of("toy_unequal:Unequal", Copycat, policies=("p", "q"))
    with pytest.raises(
        ValueError, match="a0 and a2 share policy 'p', but the observation space of a0 is Box"
    ):
        VectorEnvRunner(config=config, worker_index=0)


def test_arrays_of_actions_of_one_number_each():
    actions = JointActions([Discrete(2), Discrete(4, start=3), Discrete(2)])
    assert actions.shape == ()
    np.testing.assert_array_equal(actions.legal.sum(-1), [[2], [4], [2]])
    np.testing.assert_array_equal(actions.to_env(np.array([[1, 2, 0]])), [[1, 5, 0]])
    drawn = actions.random(np.random.default_rng(0), (99, 3), None)
    np.testing.assert_array_equal(drawn.max(0), [1, 3, 1])


SMALL = {"learning_starts": 16, "train_batch_size_per_learner": 8, "updates_per_step": 1}

# A network per component has a hidden state per component; those of all agents must be alike.
FLAT = SMALL | {"network": "flat", "sequence_length": 4}


def assert_trains(config, seen, folder):
    """Two iterations move every policy; the checkpoint plays for all agents."""
    algorithm = config.env_runners(
        num_envs_per_env_runner=4, rollout_fragment_length=8
    ).build_algo()
    before = {name: algorithm.get_module(name).get_state() for name in config.policies}
    for _ in range(2):
        algorithm.train()
    for name, state in before.items():
        after = algorithm.get_module(name).get_state()
        assert any(np.any(after[key] != state[key]) for key in state), name
    algorithm.save_to_path(folder)
    algorithm.stop()
    return CheckpointPolicy(folder)(seen)


@pytest.mark.parametrize(
    ("name", "num_agents", "settings"),
    [
        ("ppo", 4, {"minibatch_size": 32}),
        ("sac", 4, SMALL),
        ("dqn", 3, SMALL),
        ("qmix", 3, FLAT),
        ("qmix", 3, FLAT | {"mixer": "none"}),
    ],
)
def test_algorithms_train(ray_session, tmp_path, name, num_agents, settings):
    if name == "dqn":  # which plays Discrete
        agents = ("a0", "a2")
        maker = "toy_unequal:OfDiscrete"
    else:
        agents, maker = AGENTS[:num_agents], "toy_unequal:Unequal"
    kwargs = {} if name == "dqn" else {"num_agents": num_agents}
    config = (
        policies.config(name, **settings)
        .environment(PettingZooEnv, env_config={"maker": maker, "kwargs": kwargs})
        .multi_agent(policies=set(map(own_policy, agents)), policy_mapping_fn=own_policy)
        .debugging(seed=1)
    )
    seen = {a: np.ones((3, *OBSERVATIONS[a].shape), np.float32) for a in agents}
    for agent, actions in assert_trains(config, seen, tmp_path).items():
        assert all(ACTIONS[agent].contains(action) for action in actions)


def of_its_side(agent_id, episode=None, **kwargs):
    return agent_id.partition("_")[0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ppo", {"minibatch_size": 64}),
        ("dqn", SMALL),
        ("sac", SMALL),
        ("qmix", FLAT | {"mixer": "none"}),
    ],
)
def test_games_of_two_sides_train(ray_session, tmp_path, name, settings):
    tag = pytest.importorskip("mpe2.simple_tag_v3")
    config = (
        policies.config(name, **settings)
        .environment(PettingZooEnv, env_config={"maker": "mpe2.simple_tag_v3:parallel_env"})
        .multi_agent(policies={"adversary", "agent"}, policy_mapping_fn=of_its_side)
    )
    env = tag.parallel_env()
    seen = {a: env.observation_space(a).sample()[None] for a in env.possible_agents}
    assert len({x.shape for x in seen.values()}) == 2
    actions = assert_trains(config, seen, tmp_path)
    assert actions.keys() == {"adversary_0", "adversary_1", "adversary_2", "agent_0"}
