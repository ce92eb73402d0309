"""PPO and A2C as RLlib algorithms: present weights only, several learners, crashes."""

import numpy as np
import pytest
import ray
import torch

from marlserve import policies
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def own_policy(agent_id, episode=None, **kwargs):
    return f"of_{agent_id}"


def small(algorithm="ppo", toy="Counting", training=None, **kwargs):
    """Four copies, 5 steps each; episodes of `Counting` end anywhere in them."""
    if toy == "Counting":
        kwargs = {"length": 7, "random_length": True} | kwargs
    return (
        policies.config(algorithm, hidden_sizes=[8], lr=0.01, **training or {})
        .environment(PettingZooEnv, env_config={"maker": f"toys:{toy}", "kwargs": kwargs})
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=5)
        .debugging(seed=0)
    )


def watched(algorithm):
    """Compares each batch, before it is learned from, with what the learner would do now.

    Returns a list that grows by the number of rows' steps per update.
    """
    sizes, update = [], algorithm.learner_group.update

    def compare(batch, **kwargs):
        for module_id, rows in batch.policy_batches.items():
            module = algorithm.learner_group._learner.module[module_id]
            acted, seen = rows["loss_mask"], torch.as_tensor(rows["obs"][:, :-1])
            mask = {}
            if "action_mask" in rows:
                mask["action_mask"] = torch.as_tensor(rows["action_mask"][:, :-1][acted])
            with torch.no_grad():
                now = module.forward_train(
                    {"obs": seen[acted], "actions": torch.as_tensor(rows["actions"][acted]), **mask}
                )
            np.testing.assert_allclose(now["action_logp"], rows["action_logp"][acted], atol=1e-5)
        sizes.append(batch.env_steps())
        return update(batch=batch, **kwargs)

    algorithm.learner_group.update = compare
    return sizes


@pytest.mark.parametrize(
    ("name", "num_env_runners"),
    [("ppo", 0), ("a2c", 0), ("ppo", 2)],
)
def test_every_step_was_chosen_by_the_present_weights(name, num_env_runners):
    config = small(name).env_runners(num_env_runners=num_env_runners)
    algorithm = config.build_algo()
    sizes = watched(algorithm)
    for _ in range(4):
        result = algorithm.train()
    assert sizes == [20 * max(1, num_env_runners)] * 4
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == sum(sizes)
    algorithm.stop()


@pytest.mark.parametrize("name", ["ppo", "a2c"])
@pytest.mark.parametrize("toy", ["Recall", "Departures", "Dials", "Target", "TwoStep"])
def test_every_kind_of_problem(name, toy):
    config = small(name, toy)
    agents = PettingZooEnv(config.env_config).possible_agents
    config.multi_agent(policies={own_policy(a) for a in agents}, policy_mapping_fn=own_policy)
    algorithm = config.build_algo()
    watched(algorithm)
    for _ in range(3):
        result = algorithm.train()
    algorithm.stop()
    for agent in agents:
        assert np.isfinite(result["learners"][f"of_{agent}"]["total_loss"])
        assert result["learners"][f"of_{agent}"]["num_module_steps_trained"] > 0


def test_policies_that_are_not_trained_stay_as_they_are():
    config = small().multi_agent(
        policies={"of_a0", "of_a1"}, policy_mapping_fn=own_policy, policies_to_train=["of_a0"]
    )
    algorithm = config.build_algo()
    before = {name: algorithm.get_module(name).get_state() for name in config.policies}
    algorithm.train()
    after = {name: algorithm.get_module(name).get_state() for name in config.policies}
    algorithm.stop()
    for name, moved in (("of_a0", True), ("of_a1", False)):
        assert moved == any((after[name][key] != before[name][key]).any() for key in before[name])


def test_an_unknown_space_is_refused():
    config = small().environment(env_config={"kwargs": {"length": 5}})
    config.ACTION_SPACES = ()
    with pytest.raises(ValueError, match="action space of policy 'shared' is Discrete"):
        config.build_algo()


def test_two_learners_agree_and_go_on(tmp_path):
    config = small(toy="Departures", training={"minibatch_size": 8, "kl_target": 1.0})
    names = {f"of_a{i}" for i in range(3)}
    config.multi_agent(policies=names, policy_mapping_fn=own_policy).learners(num_learners=2)
    algorithm = config.build_algo()

    def weights(algorithm):
        one, other = [
            result.get()
            for result in algorithm.learner_group.foreach_learner(
                lambda learner: learner.module.get_state()
            ).result_or_errors
        ]
        for name in names:
            for key in one[name]:
                np.testing.assert_array_equal(one[name][key], other[name][key])
        return one

    first = weights(algorithm)
    for _ in range(3):
        algorithm.train()
    trained = weights(algorithm)
    assert all(trained[name]["critic.std"] != first[name]["critic.std"] for name in names)
    algorithm.save_to_path(tmp_path)
    algorithm.train()
    moved = weights(algorithm)["of_a2"]["actor.0.weight"] != trained["of_a2"]["actor.0.weight"]
    assert moved.any()
    algorithm.restore_from_path(str(tmp_path))
    for name, state in weights(algorithm).items():
        for key in state:
            np.testing.assert_array_equal(state[key], trained[name][key])
    algorithm.train()
    algorithm.stop()


def test_a_killed_runner_is_replaced_and_plays_what_was_learned():
    config = small().env_runners(num_env_runners=2)
    algorithm = config.fault_tolerance(restart_failed_env_runners=True).build_algo()
    sizes = watched(algorithm)  # which sees whether any runner plays other weights
    for _ in range(2):
        algorithm.train()
    group = algorithm.env_runner_group
    ray.kill(next(iter(group._worker_manager.actors().values())), no_restart=False)
    for _ in range(200):
        algorithm.train()
        if group.num_remote_worker_restarts() and sizes[-1] == 40:
            break
    algorithm.train()
    algorithm.stop()
    assert group.num_remote_worker_restarts() == 1
    assert sizes[-1] == 40
