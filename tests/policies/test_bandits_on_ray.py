"""NeuralLinear and NeuralUCB learn, go on from checkpoints, and are the same everywhere."""

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from states import assert_same, state_of
from toy_bandits import KINDS

from marlserve import policies
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
SIZES = {"full": {"hidden_sizes": [24]}}  # of the others, the default


def bandit(kind="neural_linear", seed=0, num_envs=32, agents=1, **training):
    """A config for toy_bandits.Waves, whose own arguments may be among the training's."""
    names = {"per_arm", "scale", "offset"} & training.keys()
    kwargs = {name: training.pop(name) for name in names} | {"num_agents": agents}
    name, settings = KINDS[kind]
    return (
        policies.config(name, **SIZES.get(kind, {}) | settings | training)
        .environment(PettingZooEnv, env_config={"maker": "toy_bandits:Waves", "kwargs": kwargs})
        .env_runners(num_envs_per_env_runner=num_envs)
        .debugging(seed=seed)
    )


def regret(runner):
    """Mean per round since the last call, of the instances in this process."""
    envs = runner.env.batch.envs
    mean = sum(env.regret for env in envs) / sum(env.rounds for env in envs)
    for env in envs:
        env.regret, env.rounds = 0.0, 0
    return mean


def learned(**settings):
    """Mean regret of the first and the second 320 rounds, and of random arms."""
    algorithm, means = bandit(**settings).build_algo(), []
    for _ in range(2):
        for _ in range(10):
            algorithm.training_step()
        means.append(regret(algorithm.env_runner))
    algorithm.env_runner.sample(num_timesteps=320, random_actions=True)
    means.append(regret(algorithm.env_runner))
    algorithm.stop()
    return means


@pytest.mark.parametrize("per_arm", [False, True], ids=["shared", "per_arm"])
@pytest.mark.parametrize("kind", KINDS)
def test_they_learn_what_no_linear_bandit_can(kind, per_arm):
    first, second, random = learned(kind=kind, per_arm=per_arm)
    assert second < 0.05 * random
    assert second < first < 0.5 * random


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_algorithm_plays_the_rounds_of_an_unbroken_one(kind, tmp_path):
    """Bit by bit, with a rebuild that falls due two steps after the checkpoint."""

    def started():
        config = bandit(kind, 3, 8, agents=2, episodes_per_update=16, rebuild_every=5)
        return config.training(
            seeds_by_steps=True, updates_per_step=4, train_batch_size_per_learner=8
        ).build_algo()

    unbroken, broken = started(), started()
    for _ in range(3):
        broken.train()
    broken.save_to_path(tmp_path)
    broken.stop()
    restored = Algorithm.from_checkpoint(str(tmp_path))
    for _ in range(3):
        restored.train()
    for _ in range(6):
        unbroken.train()
    assert unbroken.replay.everything().env_steps() == 6 * 16
    assert_same(state_of(restored), state_of(unbroken))
    for algorithm in (unbroken, restored):
        algorithm.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_the_confidence_is_that_of_all_rounds_by_the_present_network(kind):
    """In the learner, and in the env runner before it plays on."""
    algorithm = bandit(kind, updates_per_step=4).build_algo()
    for _ in range(3):
        result = algorithm.train()
    module = algorithm.learner_group._learner.module["shared"]
    found = {name: value.clone() for name, value in module.confidence.state_dict().items()}
    columns = algorithm.replay.everything()
    seen, arms, rewards = (columns[name][:, 0, 0] for name in ("obs", "actions", "rewards"))
    assert len(arms) == 96
    algorithm.learner_group._learner.absorb({"shared": (seen, arms, rewards)}, forget=True)
    module.confidence.solve(rewards.mean(), rewards.std())
    in_runner = algorithm.get_module("shared").confidence.state_dict()
    for name, value in module.confidence.state_dict().items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
        if name in in_runner:
            np.testing.assert_array_equal(in_runner[name], found[name], err_msg=name)
    own = result["learners"]["shared"]
    assert own["uncertainty_mean"] > 0
    assert own["squared_error"] > 0
    algorithm.stop()


def test_evaluation_does_not_explore():
    """With a bonus of a thousand standard deviations, training does nothing else."""
    config = bandit(ucb_beta=1e3).evaluation(
        evaluation_interval=10**9, evaluation_duration=320, evaluation_num_env_runners=0
    )
    algorithm = config.build_algo()
    for _ in range(20):
        algorithm.training_step()
    training = regret(algorithm.env_runner)
    algorithm.evaluate()
    assert training > 0.3
    assert regret(algorithm.eval_env_runner) < 0.1 * training
    algorithm.stop()


def test_rewards_of_any_scale_are_learned_alike():
    """With a network that stays as it is, nothing but the arithmetic differs."""
    chosen = []
    for scale, offset in ((1.0, 0.0), (1e4, -3e4)):
        algorithm = bandit(learning_starts=10**9, scale=scale, offset=offset).build_algo()
        for _ in range(4):
            algorithm.training_step()
        chosen.append(algorithm.replay.everything()["actions"])
        algorithm.stop()
    np.testing.assert_array_equal(*chosen)


def test_learners_and_env_runners_have_one_confidence():
    config = bandit("neural_linear", updates_per_step=4, agents=2)
    config.learners(num_learners=2).env_runners(num_env_runners=1)
    algorithm = config.build_algo()
    for _ in range(3):
        algorithm.train()
    first, second = (
        each.get()["shared"]
        for each in algorithm.learner_group.foreach_learner(
            lambda learner: learner.module.get_state()
        )
    )
    runners = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.get_state()["shared"]
    )
    algorithm.stop()
    assert_same(first, second)
    rounds, ridge = 3 * 32 * 2, 3
    # Of the constant feature.
    assert first["confidence.precision"][:, -1, -1].sum() == ridge + rounds
    assert len(runners) == 2
    for found in runners:
        assert_same(dict(found), {name: first[name] for name in found})
        assert any(name.startswith("confidence.") for name in found)
