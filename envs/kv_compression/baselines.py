"""What a learned policy is compared with: constants, oracles, and linear bandits."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.kv_compression.arms import GRID
from marlserve.envs.kv_compression.config import Config
from marlserve.envs.kv_compression.problem import Problem, reward
from marlserve.envs.kv_compression.table import Table, training
from marlserve.envs.linear_bandits import EpsilonGreedy, LinearBandit, LinearThompson, LinUCB

ByAgent = dict[str, np.ndarray]
ROUNDS = 3_000  # that the bandits learn from
# Found on what is not compared on. For synthetic prompts: the least regret on the training prompts
# of config.TUNING_PROMPTS, over three seeds, of alpha and scale in 0.1, 0.3, 1, of 30 and 100
# random choices, and of ridge in 1, 3, 10, 30, 100. For texts: experiments/kv_compression.py tune.
TUNED: dict[str, dict[str, dict[str, float]]] = {
    "untagged": {
        "linucb": {"alpha": 0.1, "ridge": 100.0},
        "thompson": {"scale": 0.1, "ridge": 30.0},
        "epsilon_greedy": {"random_choices": 30.0, "ridge": 30.0},
    },
    "tagged": {
        "linucb": {"alpha": 1.0, "ridge": 1.0},
        "thompson": {"scale": 0.1, "ridge": 1.0},
        "epsilon_greedy": {"random_choices": 30.0, "ridge": 3.0},
    },
    "texts": {
        "linucb": {"alpha": 0.78, "ridge": 7.7},
        "thompson": {"scale": 0.18, "ridge": 1.0},
        "epsilon_greedy": {"random_choices": 820.0, "ridge": 0.77},
    },
}


def tuned(config: Config) -> dict[str, dict[str, float]]:
    """The numbers of the bandits by name, for such prompts."""
    return TUNED[config.kind_of_prompts]


def decides(choice: Callable[[Problem], np.ndarray]) -> Callable[[Problem], Policy]:
    """A policy that asks `choice`, which reads the problem, at every step."""

    def make(problem: Problem) -> Policy:
        def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
            return {"compressor": np.asarray(choice(problem), np.int64)}

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


def random(problem: Problem) -> np.ndarray:
    """Any arm; drawn by the prompt's number, as batches of one-step episodes would otherwise all
    begin with the same draws."""
    count = len(problem.arm_names)
    return np.array([np.random.default_rng(i).integers(count) for i in problem.prompts.tolist()])


def best_fixed(problem: Problem) -> np.ndarray:
    """The arm that is best on average over the training prompts."""
    means = training_rewards(problem).mean(0)
    return np.full(problem.num_envs, means.argmax())


def best_per_type(problem: Problem) -> np.ndarray:
    """The arm that is best over the training prompts of the same type: told the type."""
    return best_of_types(problem)[problem.prompt_types()]


def best_of_types(problem: Problem) -> np.ndarray:
    """For each type the arm that is best over its training prompts, [types]."""
    types, rewards = _training_types(problem), training_rewards(problem)
    best = np.full(len(problem.types), rewards.mean(0).argmax())  # of types never met
    for kind in np.unique(types):
        best[kind] = rewards[types == kind].mean(0).argmax()
    return best


def oracle(problem: Problem) -> np.ndarray:
    """The best arm for the very prompt."""
    return problem.rewards_of_all_arms().argmax(1)


def learns(bandit: str, seed: int = 0) -> Callable[[Problem], Policy]:
    """What a linear bandit holds for best after `ROUNDS` training prompts, one by one."""

    def make(problem: Problem) -> Policy:
        learner, scaled = trained(bandit, problem, seed=seed)[0], standardises(problem.config)

        def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
            return {"compressor": learner.greedy(scaled(observations["compressor"]))}

        return act

    return make


def trained(
    bandit: str,
    problem: Problem,
    rounds: int = ROUNDS,
    seed: int = 0,
    numbers: Mapping[str, float] | None = None,
) -> tuple[LinearBandit, np.ndarray]:
    """One of `BANDITS` after so many rounds, and its regret in each, [rounds]; with such numbers,
    or as `tuned`.

    Its contexts are standardised, as those of NeuralUCB are, but by all training prompts from the
    first round on.

    It is trained once: policies are made anew for every batch of episodes, each with a copy.

    Raises:
        ValueError: if the problem has no table.
    """
    written_ns = training(problem.config).written_ns
    config = replace(problem.config, split="train")
    settings = tuned(config)[bandit] if numbers is None else numbers
    return deepcopy(_trained(bandit, config, rounds, seed, tuple(settings.items()), written_ns))


def training_rewards(problem: Problem) -> np.ndarray:
    """Of all training prompts and arms, [P, K].

    Raises:
        ValueError: if the problem has no table.
    """
    return reward(problem.config, training(problem.config).all_outcomes())


@lru_cache(maxsize=64)
def _trained(
    bandit: str,
    config: Config,
    rounds: int,
    seed: int,
    numbers: tuple[tuple[str, float], ...],
    written_ns: tuple[int, ...],  # another table in the same folder is no reason to be wrong
) -> tuple[LinearBandit, np.ndarray]:
    contexts = standardises(config)(contexts_of(training(config), config))
    rewards = reward(config, training(config).all_outcomes())
    learner = BANDITS[bandit](rewards.shape[1], contexts.shape[1], seed=seed, **dict(numbers))
    met = np.random.default_rng(seed).integers(len(contexts), size=rounds)
    regrets = np.zeros(rounds)
    for round_, index in enumerate(met):
        context = contexts[index : index + 1]
        arms = learner.choose(context)
        learner.learn(context, arms, rewards[index, arms])
        regrets[round_] = rewards[index].max() - rewards[index, arms[0]]
    return learner, regrets


def contexts_of(table: Table, config: Config) -> np.ndarray:
    """Of all prompts of a table, [P, F]."""
    everything = np.arange(len(table))
    return np.concatenate([table.context(everything, group) for group in config.context], 1)


def standardises(config: Config) -> Callable[[np.ndarray], np.ndarray]:
    """Contexts less the mean of the training prompts', in units of their deviation."""
    contexts = contexts_of(training(config), config)
    mean, deviation = contexts.mean(0), contexts.std(0)
    deviation = np.where(deviation > 1e-6, deviation, 1.0)  # of a constant
    return lambda seen: (seen - mean) / deviation


def _training_types(problem: Problem) -> np.ndarray:
    table = training(problem.config)
    return table.type(np.arange(len(table)))


BANDITS: dict[str, Callable[..., LinearBandit]] = {
    "linucb": LinUCB,
    "thompson": LinearThompson,
    "epsilon_greedy": EpsilonGreedy,
}
ARMS = GRID
BASELINES = {
    **{name: Baseline(decides(partial(constant, arm=name))) for name in ARMS},
    "random": Baseline(decides(random)),
    "best_fixed": Baseline(decides(best_fixed)),
    **{name: Baseline(learns(name)) for name in BANDITS},
    "best_per_type": Baseline(decides(best_per_type), oracle=True),
    "oracle": Baseline(decides(oracle), oracle=True),
}
