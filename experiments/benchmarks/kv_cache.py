"""The KV-cache problem and PPO on it: sides of `benchmark.py`.

All at the load of the Azure trace of code of 2023, 2.56 requests per second on 200 servers, under
random actions: synthetic demand is scaled to that. Both PPOs have 64 copies and one process, the
same networks, and 4 epochs in minibatches of 256 over 64 steps of each copy.

The system that the problem comes from (github.com/cybsbbb/LLM_energy_optimization_rl) was measured
elsewhere to play 567 to 660 steps per CPU second, and to train PPO by Stable-Baselines3 at 273 to
426. No row is divided by that: it does other work, on another machine.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from gymnasium.spaces import Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from marlserve import policies
from marlserve.envs.base import settings_of
from marlserve.envs.kv_cache import SYNTHETIC, Config, Problem, demand
from marlserve.experiments.benchmarks.learning import training
from marlserve.experiments.benchmarks.reference_pool import TICKS_PER_S, Pool
from marlserve.experiments.benchmarks.work import Side, timed
from marlserve.policies.sampling.multi_agent_env import ProblemEnv
from marlserve.policies.training.base import shared_policy

REQUESTS_PER_S = 2.56
COPIES, STEPS = 64, 64  # in an iteration of PPO
PLAIN, RLLIB = "plain Python in ticks of 50 ms", "PPO of RLlib, 64 copies"


def config() -> Config:
    """Synthetic days at this load."""
    requests = demand.invocations("", SYNTHETIC.weeks, SYNTHETIC.data_seed)
    rate_per_s = requests["count"].mean() / (requests.time_s[1] - requests.time_s[0])
    return replace(SYNTHETIC, request_scale=REQUESTS_PER_S / rate_per_s)


def problem(copies: int, steps: int):
    """A side: `steps` steps of this many copies through the array interface."""
    batch, rng = Problem(config(), copies), np.random.default_rng(0)
    batch.reset(list(range(copies)))
    num_actions = int(cast(Discrete, batch.action_space).n)

    def play() -> int:
        actions = rng.integers(num_actions, size=(steps, copies, 1))
        for action in actions:
            *_, truncated = batch.step(action)
            if truncated.any():
                batch.reset(copies=np.flatnonzero(truncated))
        return steps * copies

    return timed(play)


def ticks(steps: int = 200):
    """A side."""
    settings, rng = config(), random.Random(0)
    profile = demand.profile(settings.profile_path, settings.data_seed)
    columns = (profile.service_s, profile.energy_j, profile.score)
    pool = Pool(
        settings.num_servers,
        *(column.tolist() for column in columns),
        max_waiting=5 * settings.num_servers,
        timeout_s=settings.timeout_s,
        pue=settings.pue,
    )
    count, num_prompts = profile.service_s.shape
    per_step = round(settings.step_s * TICKS_PER_S)

    def play() -> int:
        for _ in range(steps):
            prompts = (
                rng.randrange(num_prompts) if rng.random() < REQUESTS_PER_S / TICKS_PER_S else None
                for _ in range(per_step)
            )
            pool.step(rng.randrange(count), 50.0, prompts)
        return steps

    return timed(play)


def ppo():
    """A side: sampling and updates of our PPO. It starts Ray."""
    settings = policies.config("ppo", problem="kv_cache", env_config=settings_of(config()))
    return training(
        settings.env_runners(num_envs_per_env_runner=COPIES, rollout_fragment_length=STEPS)
    )


def rllib_ppo():
    """A side: the same by RLlib's own PPO and env runner. It starts Ray."""
    settings = (
        PPOConfig()
        .environment(ProblemEnv, env_config={"problem": "kv_cache", **settings_of(config())})
        .multi_agent(policies={"shared"}, policy_mapping_fn=shared_policy)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=COPIES,
            rollout_fragment_length=STEPS,
        )
        .training(
            train_batch_size_per_learner=COPIES * STEPS,
            minibatch_size=256,
            num_epochs=4,
            lr=3e-3,
        )
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False
            )
        )
    )
    return training(settings)


ENVIRONMENT: dict[str, Callable[[], Side]] = {
    "64 copies": partial(problem, 64, 100),
    "1 copy": partial(problem, 1, 2_000),
    PLAIN: ticks,
}
TRAINING = {"PPO, 64 copies": ppo, RLLIB: rllib_ppo}
