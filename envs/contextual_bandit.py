"""A synthetic contextual bandit whose rewards no linear model explains: the test beds of NeuralUCB.

Agents       player. It picks one of the arms, whose contexts are new in every round.
Observation  [K, d] float32 in [-1, 1]: the context of each arm.
Action       Discrete(K): an arm.
Reward       `REWARDS[config.reward]`: "noisy", h(context of the arm) + noise_std * N(0, 1).
Episode      one round; terminated after its only step.
Reference    Zhou, Li, Gu: Neural Contextual Bandits with UCB-based Exploration, ICML 2020, section
             7.1, https://arxiv.org/abs/1911.04462

h is one of `FUNCTIONS`. Its hidden theta, uniform on the unit sphere, or its A, with entries from
N(0, 1), depends on instance_seed alone: all copies and episodes share it. Contexts and noise come
from the generator of the copy. The arms are alike: only their contexts tell which is the best.

The contexts are uniform on the unit sphere, as the analysis in the paper has them. Its section 7.1
draws them, and theta, from the unit ball, whose points have a mean length of d / (d + 1).

Presets: INNER_PRODUCT, QUADRATIC and COSINE, with the paper's 4 arms, 20 dimensions and noise of 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs import base, checks, parallel
from marlserve.envs.base import Baseline, Policy
from marlserve.envs.linear_bandits import LinUCB, play
from marlserve.envs.pictures import drawn, new_figure


def inner_product(contexts: np.ndarray, theta: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """10 (x theta)^2."""
    return 10.0 * _products(contexts, theta) ** 2


def quadratic(contexts: np.ndarray, theta: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """x A' A x, the squared length of A x."""
    return ((contexts @ matrix.T) ** 2).sum(axis=-1)


def cosine(contexts: np.ndarray, theta: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """cos(3 x theta)."""
    return np.cos(3.0 * _products(contexts, theta))


def _products(contexts: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """x theta, summed in an order that does not depend on how many contexts there are."""
    return (contexts * theta).sum(axis=-1)


# (contexts x [B, K, d], theta [d], A [d, d]) -> expected rewards [B, K]
FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "inner_product": inner_product,
    "quadratic": quadratic,
    "cosine": cosine,
}


def noisy(problem: Any) -> np.ndarray:
    """The expected reward of the chosen arms plus noise, [B]."""
    return problem.chosen_expected() + problem.config.noise_std * problem.noise


REWARDS: dict[str, Callable[..., np.ndarray]] = {"noisy": noisy}


@dataclass(frozen=True)
class Config:
    """Every field has a default that runs.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    function: str = "inner_product"  # of FUNCTIONS
    num_arms: int = 4  # K
    dim: int = 20  # d, of a context
    noise_std: float = 1.0
    instance_seed: int = 0  # of theta and A
    reward: str = "noisy"

    def __post_init__(self):
        checks.choice(self, "function", FUNCTIONS)
        checks.choice(self, "reward", REWARDS)
        checks.whole(self, "num_arms", 2, 10_000)
        checks.whole(self, "dim", 1, 1000)
        checks.whole(self, "instance_seed", 0)
        checks.number(self, "noise_std", 0.0, 1e6)


INNER_PRODUCT = Config()
QUADRATIC = Config(function="quadratic")
COSINE = Config(function="cosine")
PRESETS = {"inner_product": INNER_PRODUCT, "quadratic": QUADRATIC, "cosine": COSINE}
ROUNDS = 3_000  # that LinUCB learns from, as a baseline


Measured = np.ndarray  # contexts of the arms, [..., K, d]: what there is to know of a round


def observe(measured: Measured, config: Config) -> np.ndarray:
    """The observations, [..., K, d] float32: the contexts as they are."""
    return np.array(measured, np.float32)


def features(config: Config) -> tuple[str, ...]:
    """The d names of what is seen of each arm, in order."""
    return tuple(f"context_{i}" for i in range(config.dim))


class Problem(base.Problem):
    """See the module.

    Attributes:
        theta: [d], of unit length.
        matrix: A, [d, d].
        contexts: of this round, [B, K, d] float32.
        expected: h of each context, [B, K].
        chosen: the arm, -1 before the step, [B].
    """

    name = "contextual_bandit"

    def __init__(self, config: Config, num_envs: int = 1):
        super().__init__(config, num_envs)
        arms, dim = config.num_arms, config.dim
        self.agents = ("player",)
        self.observation_space = Box(-1.0, 1.0, (arms, dim), np.float32)
        self.action_space = Discrete(arms)
        self.state_space = Box(-1.0, 1.0, (arms * dim,), np.float32)
        # A key of its own: an episode with the same seed must not have theta among its contexts.
        rng = np.random.default_rng(np.random.SeedSequence(config.instance_seed, spawn_key=(1,)))
        self.theta = rng.standard_normal(dim)
        self.theta /= np.linalg.norm(self.theta)
        self.matrix = rng.standard_normal((dim, dim))
        self._normals = np.zeros((num_envs, 1 + arms * dim))  # a round: noise, contexts
        self.contexts = np.zeros((num_envs, arms, dim), np.float32)
        self.expected = np.zeros((num_envs, arms))
        self.chosen = np.full(num_envs, -1)

    def _start(self, copies: np.ndarray) -> None:
        for copy in copies:
            self.generators[copy].standard_normal(out=self._normals[copy])
        contexts = self._normals[copies, 1:].reshape(len(copies), *self.contexts.shape[1:])
        contexts /= np.sqrt((contexts**2).sum(axis=-1, keepdims=True))
        self.contexts[copies] = contexts
        seen = self.contexts[copies].astype(float)
        self.expected[copies] = FUNCTIONS[self.config.function](seen, self.theta, self.matrix)
        self.chosen[copies] = -1

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.chosen = actions[:, 0].copy()
        reward = REWARDS[self.config.reward](self)[:, None].astype(np.float32)
        return reward, np.ones(self.num_envs, bool), np.zeros(self.num_envs, bool)

    def measured(self) -> Measured:
        """The contexts of this round, [B, K, d]."""
        return self.contexts.copy()

    def observations(self) -> np.ndarray:
        return observe(self.contexts[:, None], self.config)

    def state(self) -> np.ndarray:
        """The contexts in one row."""
        return self.contexts.reshape(self.num_envs, -1).copy()

    @property
    def noise(self) -> np.ndarray:
        """Of this round's reward in units of noise_std, the same whatever arm is chosen: [B]."""
        return self._normals[:, 0]

    def chosen_expected(self) -> np.ndarray:
        """The expected reward of the chosen arms, [B]; only after the step."""
        return np.take_along_axis(self.expected, self.chosen[:, None], axis=1)[:, 0]

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the chosen arm, without noise: its expected reward, by how much the best arm's is
        higher, and whether it is the best. All are 0 before the step."""
        over = self.chosen >= 0
        expected, best = self.chosen_expected(), self.expected.max(axis=1)
        return {
            "expected_reward": np.where(over, expected, 0.0),
            "regret": np.where(over, best - expected, 0.0),
            "best_arm_chosen": np.where(over, expected == best, 0.0),
        }

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draws: dict[str, Callable[..., str | np.ndarray]] = {
            "ansi": _text,
            "rgb_array": _pixels,
        }
        return draws[mode](self, copy)


# Baselines ----------------------------------------------------------------------------------------

ByAgent = dict[str, np.ndarray]


def random(problem: Problem) -> Policy:
    """Any arm; drawn alike for each batch of episodes."""
    rng = np.random.default_rng(0)

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        size = len(observations["player"])
        return {"player": rng.integers(problem.config.num_arms, size=size)}

    return act


def first_arm(problem: Problem) -> Policy:
    """Always the same arm, which is as good as any constant or a random one: the arms are alike."""

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        return {"player": np.zeros(len(observations["player"]), np.int64)}

    return act


def oracle(problem: Problem) -> Policy:
    """The arm with the highest expected reward: no regret."""

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        return {"player": problem.expected.argmax(axis=1)}

    return act


def linucb(problem: Problem) -> Policy:
    """The arm that LinUCB holds for the best one, after `ROUNDS` rounds on the same instance."""
    bandit = trained(problem.config)[0]

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        return {"player": bandit.greedy(observations["player"])}

    return act


@lru_cache(maxsize=64)  # policies are made anew for every batch of episodes
def trained(config: Config, rounds: int = ROUNDS, seed: int = 0) -> tuple[LinUCB, np.ndarray]:
    """LinUCB after so many rounds on an instance, and its regret in each, [rounds].

    The seed is that of the rounds, and of choices between equals. Teach it no more: all who ask
    for the same get the same one.
    """
    bandit = LinUCB(config.num_arms, config.dim, seed=seed, context_per_arm=True)
    return bandit, play(bandit, Problem(config), rounds, seed)


BASELINES = {
    "random": Baseline(random),
    "first_arm": Baseline(first_arm),
    "linucb": Baseline(linucb),
    "oracle": Baseline(oracle, oracle=True),
}


parallel_env = partial(parallel.make, Problem, Config)
raw_env = partial(parallel.make_raw_aec, Problem, Config)
env = partial(parallel.make_aec, Problem, Config)


# Pictures -----------------------------------------------------------------------------------------


def _text(problem: Problem, copy: int) -> str:
    """One line per arm."""
    expected, chosen = problem.expected[copy], problem.chosen[copy]
    lines = [f"{problem.config.function}, {_choice(chosen)}"]
    for arm, value in enumerate(expected):
        best = "best" if value == expected.max() else ""
        lines.append(f"{'>' if arm == chosen else ' '} arm {arm:2d} {value:9.3f} {best}")
    return "\n".join(lines)


def _pixels(problem: Problem, copy: int) -> np.ndarray:
    """The expected rewards as bars, the chosen arm's in colour: [height, width, 3] uint8."""
    figure = new_figure(4.8, 2.4)
    axes, chosen = figure.subplots(), problem.chosen[copy]
    arms = range(problem.config.num_arms)
    colors = ["tab:blue" if arm == chosen else "0.7" for arm in arms]
    axes.bar([str(arm) for arm in arms], problem.expected[copy], color=colors)
    axes.set(xlabel="arm", ylabel="expected reward")
    axes.set_title(f"{problem.config.function}, {_choice(chosen)}", fontsize=9)
    return drawn(figure)


def _choice(chosen: int) -> str:
    return f"arm {chosen} chosen" if chosen >= 0 else "no arm chosen yet"
