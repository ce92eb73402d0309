"""What a learned policy is compared with: constants, oracles, and linear bandits."""

from collections.abc import Callable
from functools import partial

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.kv_compression.arms import GRID
from marlserve.envs.kv_compression.problem import Problem, reward
from marlserve.envs.kv_compression.table import Table, training
from marlserve.envs.linear_bandits import EpsilonGreedy, LinearBandit, LinearThompson, LinUCB

ROUNDS = 3_000  # that the bandits learn from


def decides(choice: Callable[[Problem], np.ndarray]) -> Callable[[Problem], Policy]:
    """A policy that asks `choice`, which reads the problem, at every step."""

    def make(problem: Problem) -> Policy:
        def act(observations):
            lead = observations["compressor"].shape[:-1]
            return {"compressor": np.asarray(choice(problem), np.int64).reshape(lead)}

        return act

    return make


def constant(problem: Problem, arm: str) -> np.ndarray:
    """Always the same arm.

    Raises:
        ValueError: if the problem does not have it.
    """
    if arm not in problem.arm_names:
        raise ValueError(f"arm {arm!r} is not among the problem's: {problem.arm_names}")
    return np.full(problem.num_envs, problem.arm_names.index(arm))


def random(problem: Problem) -> Policy:
    """Any arm; drawn alike for each batch of episodes."""
    generator, count = np.random.default_rng(0), len(problem.arm_names)

    def act(observations):
        return {"compressor": generator.integers(count, size=observations["compressor"].shape[:-1])}

    return act


def best_fixed(problem: Problem) -> np.ndarray:
    """The arm that is best on average over the training prompts."""
    means = _training_rewards(problem).mean(0)
    return np.full(problem.num_envs, means.argmax())


def best_per_type(problem: Problem) -> np.ndarray:
    """The arm that is best over the training prompts of the same type: told the type."""
    types, rewards = _training_types(problem), _training_rewards(problem)
    best = np.full(len(problem.types), rewards.mean(0).argmax())  # of types never met
    for kind in np.unique(types):
        best[kind] = rewards[types == kind].mean(0).argmax()
    return best[problem.prompt_types()]


def oracle(problem: Problem) -> np.ndarray:
    """The best arm for the very prompt."""
    return problem.rewards_of_all_arms().argmax(1)


def learns(bandit: Callable[..., LinearBandit]) -> Callable[[Problem], Policy]:
    """What a linear bandit holds for best after `ROUNDS` training prompts, one by one."""

    def make(problem: Problem) -> Policy:
        learner = trained(bandit, problem)[0]
        return lambda observations: {"compressor": learner.greedy(observations["compressor"])}

    return make


def trained(
    bandit: Callable[..., LinearBandit], problem: Problem, rounds: int = ROUNDS, seed: int = 0
) -> tuple[LinearBandit, np.ndarray]:
    """A bandit after so many rounds, and its regret in each, [rounds].

    Raises:
        ValueError: if the problem has no table.
    """
    table, rewards = training(problem.config), _training_rewards(problem)
    contexts = _contexts(table, problem)
    learner = bandit(len(problem.arm_names), contexts.shape[1], seed=seed)
    met = np.random.default_rng(seed).integers(len(contexts), size=rounds)
    regrets = np.zeros(rounds)
    for round_, index in enumerate(met):
        context = contexts[index : index + 1]
        arms = learner.choose(context)
        learner.learn(context, arms, rewards[index, arms])
        regrets[round_] = rewards[index].max() - rewards[index, arms[0]]
    return learner, regrets


def _contexts(table: Table, problem: Problem) -> np.ndarray:
    everything = np.arange(problem.config.num_prompts)
    groups = [table.context(everything, group) for group in problem.config.context]
    return np.concatenate(groups, 1)


def _training_rewards(problem: Problem) -> np.ndarray:
    """Of all training prompts and arms, [P, K]."""
    return reward(problem.config, training(problem.config).all_outcomes())


def _training_types(problem: Problem) -> np.ndarray:
    return training(problem.config).type(np.arange(problem.config.num_prompts))


BANDITS: dict[str, Callable[..., LinearBandit]] = {
    "linucb": LinUCB,
    "thompson": LinearThompson,
    "epsilon_greedy": EpsilonGreedy,
}
ARMS = GRID
BASELINES = {
    **{name: Baseline(decides(partial(constant, arm=name))) for name in ARMS},
    "random": Baseline(random),
    "best_fixed": Baseline(decides(best_fixed)),
    **{name: Baseline(learns(bandit)) for name, bandit in BANDITS.items()},
    "best_per_type": Baseline(decides(best_per_type), oracle=True),
    "oracle": Baseline(decides(oracle), oracle=True),
}
