"""Programs under control as an env runner of RLlib, with real algorithms and clients."""

import threading
from math import inf

import gymnasium as gym
import numpy as np
import pytest
import torch
from external_cases import SEEN, agent_of, contract, fronted, play, steps, until
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from marlserve.policies.export import rllib_modules  # noqa: F401
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.serving.trainer.external import external
from marlserve.serving.trainer.limits import Limits
from marlserve.serving.trainer.runners import env_runner
from marlserve.serving.trainer.runners.env_runner import Ended
from marlserve.serving.trainer.runners.episode_runner import EpisodeRunner
from marlserve.serving.trainer.runners.episodes import Episodes
from marlserve.serving.wire.contract import COLUMNS
from marlserve.serving.wire.steps import TERMINATED, TRUNCATED

VECTOR, CHOICE = Box(-np.inf, np.inf, (4,), np.float32), Discrete(2)
CONFIGS = {"PPO": PPOConfig, "APPO": APPOConfig, "DQN": DQNConfig, "SAC": SACConfig}
SMALL = {
    "PPO": {"train_batch_size_per_learner": 100, "minibatch_size": 50, "num_epochs": 2},
    "APPO": {"train_batch_size_per_learner": 50},
    "DQN": {"num_steps_sampled_before_learning_starts": 64, "train_batch_size_per_learner": 16},
    "SAC": {"num_steps_sampled_before_learning_starts": 64, "train_batch_size_per_learner": 16},
}


def config_of(name: str, **training):
    config = CONFIGS[name]().training(**SMALL[name] | training).learners(num_learners=0)
    config.debugging(seed=0, log_level="ERROR").env_runners(num_env_runners=0)
    if name != "SAC":
        model = DefaultModelConfig(fcnet_hiddens=[16, 16], vf_share_layers=False)
        config.rl_module(model_config=model)
    return config


def test_steps_become_chunks_of_episodes():
    episodes = Episodes(contract())
    first = episodes.episode(steps(3, version=4))
    second = episodes.episode(steps(2, first_step=3, ending=TERMINATED))
    assert (first.id_, len(first), first.t_started, first.is_done) == (second.id_, 3, 0, False)
    assert (len(second), second.t_started, second.is_terminated) == (2, 3, True)
    np.testing.assert_array_equal(first.get_observations(), steps(3).only.observations)
    np.testing.assert_array_equal(first.get_rewards(), steps(3).only.rewards)
    chances = first.get_extra_model_outputs(Columns.ACTION_LOGP)
    np.testing.assert_array_equal(chances, steps(3).only.log_probabilities)
    assert first.get_extra_model_outputs("weights_seq_no").tolist() == [4, 4, 4]


def test_what_follows_a_gap_is_an_episode_by_itself():
    episodes = Episodes(contract())
    first = episodes.episode(steps(3))
    later = episodes.episode(steps(3, first_step=6))
    last = episodes.episode(steps(3, first_step=9, ending=TRUNCATED))
    other = episodes.episode(steps(3, session="another"))
    assert later.id_ == last.id_ != first.id_ != other.id_
    assert last.is_truncated
    later.concat_episode(last)  # as a replay does
    episodes.episode(steps(3))
    lies = steps(3, first_step=3, observations=np.ones((4, 4), np.float32))
    assert episodes.episode(lies).id_ not in (first.id_, later.id_)


def test_so_many_steps_as_are_asked_for():
    episodes = Episodes(contract())
    sent = [steps(3), steps(4, first_step=3)]
    assert [len(x) for x in episodes.cut(sent, 5)] == [3, 2]
    assert (episodes.left_steps, episodes.left_version) == (2, 1)
    assert [len(x) for x in episodes.cut([], 1)] == [1]
    assert [(len(x), x.first_step) for x in episodes.cut([steps(2)], 3)] == [(1, 6), (2, 0)]
    assert episodes.forget() == 0


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["PPO", "APPO", "DQN", "SAC"])
def test_what_is_published_acts_as_the_module(name, shared):
    config = config_of(name).environment(observation_space=VECTOR, action_space=CHOICE)
    if name != "SAC":
        model = DefaultModelConfig(fcnet_hiddens=[16, 8], vf_share_layers=shared)
        config.rl_module(model_config=model)
    module = config.get_rl_module_spec(
        spaces={"default_policy": (VECTOR, CHOICE)}, inference_only=True
    ).build()
    network = exported(module, True, False)
    file = PolicyFile({"default_policy": network}, {"*": "default_policy"})
    seen = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    with torch.no_grad():
        batch = {Columns.OBS: torch.from_numpy(seen)}
        if name == "DQN":
            expected = module.compute_q_values(batch)["qf_preds"]
        else:
            expected = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
    got = NumpyPolicy(file).outputs({"a": seen})["a"][:, 0]
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (DQNConfig().training(num_atoms=5), "num_atoms is 5"),
        (PPOConfig().rl_module(model_config={"fcnet_activation": "silu"}), "SiLU"),
    ],
)
def test_other_modules_are_refused(config, what):
    config.environment(observation_space=VECTOR, action_space=CHOICE)
    spec = config.get_rl_module_spec(
        spaces={"default_policy": (VECTOR, CHOICE)}, inference_only=True
    )
    with pytest.raises(ValueError, match=what):
        exported(spec.build(), True, False)


def test_limits_suit_the_algorithm():
    assert Limits.of(config_of("PPO")) == Limits(2.0, COLUMNS, 50)
    assert Limits.of(config_of("DQN")).most_staleness == inf
    with pytest.raises(ValueError, match="allowed are"):
        Limits.of(AlgorithmConfig(algo_class=Algorithm))


class Programs:
    """Clients that live through CartPole until they are stopped."""

    def __init__(self, front, count: int):
        self._ends = threading.Event()
        self.agents = [
            agent_of(front, most_steps=100, buffer_steps=200, when_full="wait", seed=i)
            for i in range(count)
        ]
        self._threads = [
            threading.Thread(target=self._live, args=(agent, seed), daemon=True)
            for seed, agent in enumerate(self.agents)
        ]
        for thread in self._threads:
            thread.start()

    def _live(self, agent, seed: int) -> None:
        agent.wait_for_policy(120)
        env = gym.make("CartPole-v1")
        seen, _ = env.reset(seed=seed)
        while not self._ends.is_set():
            decision = agent.act(seen)
            seen, reward, terminated, truncated, _ = env.step(decision.action)
            decision.reward(reward)
            if terminated or truncated:
                agent.end(terminated, truncated and not terminated, seen)
                seen, _ = env.reset()

    def stop(self) -> None:
        self._ends.set()
        for agent in self.agents:
            agent.close(timeout_s=0.2)
        for thread in self._threads:
            thread.join(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_env_runners"),
    [("APPO", 0), ("SAC", 0), ("PPO", 1), ("DQN", 2)],  # PPO and DQN with 0: test_external_process
)
def test_algorithms_learn_from_programs_and_go_on_from_a_checkpoint(
    name, num_env_runners, ray_session, tmp_path
):
    with fronted() as front:
        config = external(config_of(name), front.learner_config, "policy", VECTOR, CHOICE)
        config.env_runners(num_env_runners=num_env_runners)
        config.reporting(min_time_s_per_iteration=None)  # some of RLlib's last 10 s
        if num_env_runners and name == "PPO":
            config.env_runners(rollout_fragment_length=50)
        algorithm = config.build_algo()
        programs = Programs(front, 2)
        try:
            sampled, iterations = 0, 0
            while sampled < 64 or iterations < 3:
                result, iterations = algorithm.train(), iterations + 1
                sampled = result["env_runners"].get("num_env_steps_sampled_lifetime", 0)
            until(lambda: front.intakes["policy"].newest_version >= 2)
            intake = front.intakes["policy"]
            assert intake.dropped["invalid"] == 0
            algorithm.save_to_path(str(tmp_path / "saved"))
        finally:
            algorithm.stop()
            programs.stop()
    weights = algorithm.get_module().state_dict()
    again = Algorithm.from_checkpoint(str(tmp_path / "saved"))  # with no front
    try:
        assert again.env_runner.num_env_steps_sampled_lifetime >= 64
        if name != "APPO":  # which goes on learning while it is saved
            for key, values in again.get_module().state_dict().items():
                torch.testing.assert_close(values, weights[key])
    finally:
        again.stop()


@pytest.mark.slow
def test_a_sample_has_as_many_steps_as_the_config_says_and_ends(ray_session):
    with fronted() as front:
        limits = Limits(1.0, COLUMNS, 1_000, fragment_steps=7)
        given = front.learner_config, "policy", SEEN, Discrete(3)
        config = external(config_of("PPO"), *given, limits)
        runner = EpisodeRunner(config=config, worker_index=0)
        runner.begin(random_actions=False)
        with agent_of(front) as agent:
            assert agent.wait_for_policy(60)
            play(agent, 4)  # 20 steps
        sampled = [runner.sample() for _ in range(2)]
        assert [sum(map(len, episodes)) for episodes in sampled] == [7, 7]
        metrics = runner.get_metrics()
        assert metrics["num_episodes"].peek() == 2
        assert metrics["episode_return_mean"].peek() == 5.0
        for _ in range(2):  # the 6 steps that are left are too old for an on-policy learner now
            runner._is_new = True
            runner._publish()
        env_runner.ending.set()
        try:
            with pytest.raises(Ended):
                runner.sample()
        finally:
            env_runner.ending.clear()
            runner.stop()
