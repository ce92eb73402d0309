"""Sampling and training on the moderate load-balancing problem: sides of `benchmark.py`.

All with 32 copies in one process. Runners sample with the feed-forward network of the preset's
training, QMIX trains with its default one, which is recurrent. What a runner adds to
the simulator shows best where there is little to simulate: a step has about 180 jobs of Wikipedia's
traffic, and 22 of the Poisson trace's.
"""

import time
from functools import partial
from typing import cast

import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from marlserve import envs, policies
from marlserve.experiments.benchmarks.reference_qmix import PlainQMIX
from marlserve.experiments.benchmarks.work import Work, timed
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.policies import session
from marlserve.policies.sampling.runner import VectorEnvRunner

PROBLEM, COPIES = "load_balance", 32
RLLIB = "MultiAgentEnvRunner of RLlib"


def runner(vectorised: bool, trace: str):
    """A side: our env runner or RLlib's, on the same problem with the same module, without Ray."""
    session.quiet()
    env_runner_cls = VectorEnvRunner if vectorised else MultiAgentEnvRunner
    config = (
        policies.config("qmix", problem=PROBLEM, env_config={"trace": trace}, use_gru=False)
        .env_runners(env_runner_cls=env_runner_cls, num_envs_per_env_runner=COPIES)
        .debugging(seed=0)
    )
    env_runner = env_runner_cls(config=config, worker_index=0)

    def sample() -> int:
        env_runner.sample(num_timesteps=16 * COPIES, explore=True)
        return 16 * COPIES

    return timed(sample)


def problem_alone(trace: str):
    """A side, the floor of any runner: simulator, statistics and reward under random actions."""
    problem, rng = envs.make_batch(PROBLEM, COPIES, trace=trace), np.random.default_rng(0)
    problem.reset(list(range(COPIES)))
    space = cast(MultiDiscrete, problem.action_space)
    shape = (COPIES, len(problem.agents), *space.shape)

    def step() -> Work:
        actions = rng.integers(space.nvec, size=shape)
        start_s = time.process_time()
        *_, truncated = problem.step(actions)
        if truncated.any():
            problem.reset(copies=np.flatnonzero(truncated))
        return Work(COPIES, time.process_time() - start_s)

    return step


def training(config: AlgorithmConfig):
    """A side: sampling, replay and updates of an algorithm, all in this process. It starts Ray."""
    torch.set_num_threads(1)
    session.start(num_cpus=1)
    algorithm = config.debugging(seed=0).build_algo()

    def train() -> int:
        before = sampled()
        algorithm.train()
        return sampled() - before

    def sampled() -> int:
        steps = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        return int(algorithm.metrics.peek(steps, default=0))

    while sampled() < getattr(config, "learning_starts", 0):  # from then on it also updates
        train()
    return timed(train)


def qmix():
    """A side: the default settings, an update for every 16 steps."""
    return training(policies.config("qmix", problem=PROBLEM))


def plain_qmix():
    """A side: the same, plainly written."""
    torch.set_num_threads(1)
    config = policies.config("qmix")
    reference = PlainQMIX(envs.make(PROBLEM), config)
    while not reference.num_updates:
        reference.play(config.sequence_length)
    return timed(partial(reference.play, 4 * config.sequence_length))


def s_sac():
    """A side: one balancer and 16 servers, with the settings of the comparison."""
    return training(STUDY.experiment("quad", "s_sac").config())


def sampling(trace: str) -> dict[str, partial]:
    """The sides that sample under this traffic."""
    return {
        "VectorEnvRunner": partial(runner, True, trace),
        RLLIB: partial(runner, False, trace),
        "the problem alone": partial(problem_alone, trace),
    }


PLAIN_QMIX = "plain PyTorch, 1 copy"
TRAINING = {"QMIX, 32 copies": qmix, PLAIN_QMIX: plain_qmix}
RECURRENT_SAC = {"recurrent SAC": s_sac}
