"""The algorithms of `marlserve.policies` learn from programs, alone and as teams."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from external_cases import agent_of, fronted
from external_teams import live, own_policies, spaces_of
from ray.rllib.algorithms.algorithm import Algorithm
from toy_memory import Echo
from toy_unequal import Unequal
from toys import Recall

from marlserve import policies
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.serving.trainer.external import external_team
from marlserve.serving.trainer.limits import Limits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SMALL = {"learning_starts": 16, "train_batch_size_per_learner": 8}
CASES = {
    "ppo": (lambda: Unequal(masks=True), {"minibatch_size": 16, "num_epochs": 2}, 0),
    "td3": (lambda: Echo(1, "box"), {**SMALL, "random_timesteps": 8}, 0),
    "qmix": (lambda: Echo(2, "multi_discrete"), {**SMALL, "hidden_size": 8}, 3),
}


def config_of(name: str):
    make, training, state_size = CASES[name]
    env = make()
    config = policies.config(name, **training).debugging(seed=0)
    if name == "ppo":
        config.multi_agent(**own_policies(env))
        config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=20)
    else:
        config.env_runners(num_envs_per_env_runner=2)
    return config, env, state_size


class Program(threading.Thread):
    """A client that lives through an environment until it is stopped."""

    def __init__(self, front, env, state_size: int = 0):
        super().__init__(daemon=True)
        # Little ahead of the learner.
        self.agent = agent_of(front, when_full="wait", most_steps=16, buffer_steps=16, seed=0)
        self._env, self._state_size, self._ends = env, state_size, threading.Event()
        self.start()

    def run(self) -> None:
        self.agent.wait_for_policy(120)
        while not self._ends.is_set():
            live(self.agent, self._env, 1, state_size=self._state_size)

    def stop(self) -> None:
        self._ends.set()
        self.agent.close(0.2)
        self.join(60)


@pytest.mark.parametrize("name", CASES)
def test_they_learn_and_go_on_from_a_checkpoint(name, ray_session, tmp_path):
    config, env, state_size = config_of(name)
    with fronted() as front:
        given = front.learner_config, "policy", spaces_of(env, env.__dict__.get("masks", False))
        algorithm = external_team(config, *given, state_size).build_algo()
        before = weights_of(algorithm)
        program = Program(front, env, state_size)
        try:
            newest, mean = 0, np.nan
            while newest < 2 or np.isnan(mean):  # nothing was learned, or no episode has ended
                mean = algorithm.train()["env_runners"].get("episode_return_mean", np.nan)
                newest = front.intakes["policy"].newest_version
            assert front.intakes["policy"].dropped["invalid"] == 0
            algorithm.save_to_path(str(tmp_path / "saved"))
            learned = weights_of(algorithm)
        finally:
            algorithm.stop()
            program.stop()
    assert any(not torch.equal(learned[key], before[key]) for key in learned)
    again = Algorithm.from_checkpoint(str(tmp_path / "saved"))  # with no front
    try:
        assert again.env_runner.num_env_steps_sampled_lifetime > 0
        for key, values in weights_of(again).items():
            torch.testing.assert_close(values, learned[key])
    finally:
        again.stop()


def test_what_takes_memory_and_masks_is_learned(ray_session):
    """Two agents with a policy each; who forgets names one of three cues, and earns 0.67."""
    env = Recall()
    settings = {"hidden_size": 32, "sequence_length": 4, "replay_capacity": 2_000, "lr": 3e-3}
    config = policies.config("sac_gru", learning_starts=200, **settings).debugging(seed=0)
    config.multi_agent(**own_policies(env))
    limits = replace(Limits.of(config), capacity_steps=64, publish_every_s=0.0)
    with fronted() as front:
        given = front.learner_config, "policy", spaces_of(env), 0, limits
        algorithm = external_team(config, *given).build_algo()
        program = Program(front, env)
        try:
            while algorithm.env_runner.num_env_steps_sampled_lifetime < 1_200:
                algorithm.training_step()
            policy = NumpyPolicy(algorithm.env_runner.policies({})[0])
        finally:
            algorithm.stop()
            program.stop()
    assert np.mean([return_of(policy, env, seed) for seed in range(100)]) > 1.5


def return_of(policy: NumpyPolicy, env, seed: int) -> float:
    """Of all agents, in an episode of greedy play."""
    policy.reset()
    seen, _ = env.reset(seed=seed)
    earned = 0.0
    while env.agents:
        shown = {agent: each["observation"][None] for agent, each in seen.items()}
        masks = {agent: each["action_mask"][None, None] for agent, each in seen.items()}
        actions = {agent: int(chosen[0]) for agent, chosen in policy(shown, masks).items()}
        seen, rewards, *_ = env.step(actions)
        earned += sum(rewards.values())
    return earned


def weights_of(algorithm) -> dict:
    """Of what acts."""
    return {
        f"{name}.{key}": values.clone()
        for name, module in algorithm.env_runner.module.items()
        for key, values in module.state_dict().items()
    }
