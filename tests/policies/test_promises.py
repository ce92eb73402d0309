"""What every algorithm promises, whatever else it can do.

A checkpoint plays the same everywhere and goes on training; policies are shared, or not, as
`policy_mapping_fn` says; evaluation is greedy; unknown and bad requests are refused.
"""

from inspect import signature

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm import Algorithm
from states import assert_same, learner_state, state_of

from marlserve import policies
from marlserve.policies import export
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv
from marlserve.policies.sampling.runner import MIXER

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
STEPS_PER_ITERATION = 4 * 8
SMALL = {  # settings, where an algorithm has them
    "hidden_size": 8,
    "hidden_sizes": [8],
    "learning_starts": 20,
    "replay_capacity": 100,
    "updates_per_step": 2,
    "standardize_rewards": True,
}


def own_policy(agent_id, episode=None, **kwargs):
    return f"of_{agent_id}"


def small(name, **training):
    """A config with two agents in a space that the algorithm can play, and masks where it can."""
    module = policies.module(name)
    own = [x for x in type(module.config()).__mro__ if x.__module__.startswith("marlserve")]
    fields = {
        x for cls in own if "training" in vars(cls) for x in signature(cls.training).parameters
    }
    settings = {field: value for field, value in SMALL.items() if field in fields}
    if "learning_starts" in settings:
        settings["train_batch_size_per_learner"] = 8
    toy = "Recall" if Discrete in module.ACTION_SPACES else "Target"
    return (
        module.config(**settings | training)
        .environment(PettingZooEnv, env_config={"maker": f"toys:{toy}"})
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=8)
        .debugging(seed=1)
    )


def runner_states(algorithm):
    """The policies' weights in all env runners, those of evaluation too."""
    groups = algorithm.env_runner_group, algorithm.eval_env_runner_group
    return [
        state
        for group in groups
        if group is not None
        for state in group.foreach_env_runner(lambda runner: runner.module.get_state())
    ]


def greedy(module, seen):
    """The module's actions for the first observations of episodes, as the environment has them."""
    batch, stateful = {"obs": torch.from_numpy(seen)}, module.is_stateful()
    if stateful:
        batch["obs"] = batch["obs"][:, None]
        start = module.get_initial_state()["h"]
        batch["state_in"] = {"h": start.expand(len(seen), *start.shape)}
    with torch.no_grad():
        actions = module.forward_inference(batch)["actions"].numpy()
    actions = actions[:, 0] if stateful else actions
    if isinstance(module.action_space, Box):
        low, high = module.action_space.low, module.action_space.high
        actions = np.clip(low + (actions + 1) * (high - low) / 2, low, high)
    return actions


def assert_plays_alike(folder, algorithm, mapping):
    """A checkpoint's policy and the modules of the local env runner choose the same actions."""
    random, seen = np.random.default_rng(0), {}
    for agent in ("a0", "a1"):
        shape = algorithm.get_module(mapping(agent)).observation_space.shape
        seen[agent] = random.normal(1, 2, (40, *shape)).astype(np.float32)
    for agent, actions in CheckpointPolicy(folder)(seen).items():
        ours = greedy(algorithm.get_module(mapping(agent)), seen[agent])
        np.testing.assert_allclose(actions, ours, rtol=1e-5)


def evaluated(config):
    return config.evaluation(
        evaluation_interval=1, evaluation_duration=5, evaluation_num_env_runners=0
    )


@pytest.fixture(scope="module", params=policies.names())
def saved(request, ray_session, tmp_path_factory):
    """An algorithm's name, its checkpoint after three iterations, and what was saved."""
    algorithm = evaluated(small(request.param)).build_algo()
    for _ in range(3):
        result = algorithm.train()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 3 * STEPS_PER_ITERATION
    assert result["evaluation"]["env_runners"]["num_episodes"] == 5
    folder = tmp_path_factory.mktemp("saved")
    algorithm.save_to_path(folder)
    state = state_of(algorithm)
    algorithm.stop()
    assert state["rewards"]["_count"] == 3 * STEPS_PER_ITERATION * 2
    return request.param, folder, state


def test_a_checkpoint_plays_everywhere_and_goes_on(saved):
    _, folder, state = saved
    assert_goes_on(Algorithm.from_checkpoint(str(folder)), folder, state, expected_runners=2)


@pytest.mark.parametrize("saved", ["ppo", "qmix", "neural_linear"], indirect=True)
def test_it_goes_on_with_remote_env_runners(saved):
    """One algorithm for each way of training; others of its kind have the same env runners."""
    name, folder, state = saved
    restored = evaluated(small(name)).env_runners(num_env_runners=1).build_algo()
    restored.restore_from_path(str(folder))
    assert_goes_on(restored, folder, state, expected_runners=3)


def assert_goes_on(restored, folder, state, expected_runners):
    assert_same(state_of(restored), state)
    weights = state["learner"]["rl_module"]["shared"]
    everywhere = runner_states(restored)
    assert len(everywhere) == expected_runners
    for found in everywhere:
        assert found.keys() == {"shared"}
        for key, value in found["shared"].items():
            np.testing.assert_array_equal(value, weights[key])
    assert_plays_alike(folder, restored, lambda agent: "shared")

    result = restored.train()
    assert result["training_iteration"] == 4
    steps = result["env_runners"]["num_env_steps_sampled_lifetime"]
    assert steps == 4 * STEPS_PER_ITERATION
    after = learner_state(restored)["rl_module"]["shared"]
    assert any(np.any(after[key] != weights[key]) for key in weights)
    restored.stop()


def test_a_policy_file_acts_as_the_checkpoint(saved, tmp_path):
    name, folder, _ = saved
    policy = export.load(export.write(folder, tmp_path / "policy"))
    checkpoint, random = CheckpointPolicy(folder), np.random.default_rng(0)
    shape = policy.file.networks["shared"].observation_space.shape
    for _ in range(5):
        seen = {agent: random.normal(1, 2, (40, *shape)) for agent in ("a0", "a1")}
        expected = checkpoint(seen)
        for agent, actions in policy(seen).items():
            np.testing.assert_allclose(actions, expected[agent], rtol=1e-5)
    training = policy.file.training
    assert (training["algorithm"], training["seed"]) == (name, 1)
    assert training["env_steps"] == 3 * STEPS_PER_ITERATION


@pytest.mark.parametrize("name", policies.names())
def test_agents_may_have_policies_of_their_own(name, tmp_path):
    config = small(name).multi_agent(policies={"of_a0", "of_a1"}, policy_mapping_fn=own_policy)
    algorithm = config.build_algo()
    before = {policy: algorithm.get_module(policy).get_state() for policy in config.policies}
    for _ in range(3):
        result = algorithm.train()
    learners = result["learners"].keys() - {"__all_modules__", MIXER}
    assert learners == {"of_a0", "of_a1"} or name == "qmix"  # which learns jointly
    for policy, state in before.items():
        after = algorithm.get_module(policy).get_state()
        assert any(np.any(after[key] != state[key]) for key in state), policy
    algorithm.save_to_path(tmp_path / "checkpoint")
    assert_plays_alike(tmp_path, algorithm, own_policy)
    algorithm.stop()
    export.write(tmp_path, tmp_path / "policy")
    assert export.read(tmp_path / "policy").agents == {"a0": "of_a0", "a1": "of_a1"}


@pytest.mark.parametrize("name", policies.names())
def test_other_action_spaces_and_idle_policies_are_refused(name):
    spaces = policies.module(name).ACTION_SPACES
    for toy, space in (("Recall", Discrete), ("Target", Box)):
        if space not in spaces:
            config = small(name).environment(env_config={"maker": f"toys:{toy}"})
            with pytest.raises(ValueError, match=f"action space.*is {space.__name__}"):
                config.build_algo()
    config = small(name).multi_agent(policies={"shared", "nobody"})
    with pytest.raises(ValueError, match=r"policies \['nobody'\] play for no agent"):
        config.build_algo()


@pytest.mark.parametrize("name", policies.names())
def test_observations_that_are_no_numbers_are_refused(name):
    config = small(name)
    action_space = policies.module(name).ACTION_SPACES[0]
    actions = Discrete(2) if action_space is Discrete else Box(-1, 1, (1,))
    spaces = dict.fromkeys(config.policies, (Discrete(3), actions))
    with pytest.raises(ValueError, match=r"observation space of policy 'shared' is Discrete\(3\)"):
        config.get_multi_rl_module_spec(spaces=spaces)
