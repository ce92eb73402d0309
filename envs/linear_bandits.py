"""Linear contextual bandits: the baselines that learn, for problems of one step and few arms.

    bandit = LinUCB(num_arms=6, dim=20)
    arms = bandit.choose(contexts)  # [B, d] -> [B]; explores
    bandit.learn(contexts, arms, rewards)
    arms = bandit.greedy(contexts)  # what it holds for best; explores nothing, changes nothing

Every arm has a ridge regression of its own ("disjoint") from the context, which all arms share, and
a constant 1 to the reward; LinUCB may also be shown a context per arm, [B, K, d], and then has one
regression for all of them. The three algorithms differ in how they explore:

LinUCB          the highest upper bound. Li et al.: A Contextual-Bandit Approach to Personalized
                News Article Recommendation, WWW 2010, algorithm 1,
                https://arxiv.org/abs/1003.0146
LinearThompson  the highest draw from the posteriors. Agrawal, Goyal: Thompson Sampling for
                Contextual Bandits with Linear Payoffs, ICML 2013, https://arxiv.org/abs/1209.3352
EpsilonGreedy   the highest mean, but any arm with a probability that falls as 1 / t. Auer et al.:
                Finite-time Analysis of the Multiarmed Bandit Problem, Machine Learning 47, 2002

Units: rewards are standardised by the mean and the standard deviation of all that were learned
from, so that `alpha` and `scale` count standard deviations of the reward: a bandit chooses the same
arms if all rewards are multiplied by 100 or raised by 5. Contexts are taken as they are; their
features should be of order 1, as one `ridge` holds for all.

A context in a batch is decided on with what was learned before the batch. Ties, as between arms of
which nothing is known, are broken at random. Equal seeds make equal choices.
"""

from abc import ABC, abstractmethod

import numpy as np

from marlserve.envs.base import Problem


class Ridge:
    """Ridge regressions, one per arm or one for all, that learn one reward at a time.

    For the features x = (context, 1) of the rewards y that it has learned, and m, s the mean and
    standard deviation of the rewards of all arms, A = ridge I + sum x x', w = A^-1 sum x (y - m)/s.

    Args:
        num_arms: K, at least 1.
        dim: d, of a context, at least 1.
        ridge: positive.
        context_per_arm: contexts are [B, K, d], and there is M = 1 regression; else they are
            [B, d], and there are M = K.

    Attributes:
        inverses: A^-1 of every regression, [M, d + 1, d + 1].
        count, mean: of all rewards; the mean is 0 before the first.

    Raises:
        ValueError: for a bad argument, naming it.
    """

    def __init__(self, num_arms: int, dim: int, ridge: float = 1.0, context_per_arm: bool = False):
        for name, value in (("num_arms", num_arms), ("dim", dim)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} is {value!r}; allowed is whole, at least 1")
        _check_number("ridge", ridge, ridge > 0, "positive")
        self.num_arms, self.dim, self.context_per_arm = num_arms, dim, context_per_arm
        number = 1 if context_per_arm else num_arms  # M
        self.inverses = np.tile(np.eye(dim + 1) / ridge, (number, 1, 1))
        self._reward_sums = np.zeros((number, dim + 1))  # of x y
        self._feature_sums = np.zeros((number, dim + 1))  # of x
        self.count, self.mean = 0, 0.0
        self._squares = 0.0  # of reward - mean, summed

    @property
    def std(self) -> float:
        """Of all rewards; 1 while they do not differ, when no scale is known or matters."""
        return float(np.sqrt(self._squares / self.count)) if self._squares else 1.0

    def means(self, contexts: np.ndarray) -> np.ndarray:
        """Predicted standardised rewards x w of all arms: [B, K]."""
        sums = (self._reward_sums - self.mean * self._feature_sums) / self.std
        weights = (self.inverses @ sums[..., None])[..., 0]  # [M, d + 1]
        features = self._features(contexts)
        return (features @ weights.T).reshape(len(features), self.num_arms)

    def widths(self, contexts: np.ndarray) -> np.ndarray:
        """How uncertain they are, sqrt(x' A^-1 x): [B, K]."""
        features = self._features(contexts).swapaxes(0, 1)  # [1 or K, B, d + 1]
        squares = ((features @ self.inverses) * features).sum(axis=-1).T
        return np.sqrt(np.maximum(squares, 0.0))  # rounding may leave less than 0

    def learn(self, contexts: np.ndarray, arms: np.ndarray, rewards: np.ndarray) -> None:
        """Take in the rewards [B] of the arms [B] chosen in contexts.

        Raises:
            ValueError: for wrong shapes, no such arm, or what is not finite; nothing is learned.
        """
        features = self._features(contexts)
        arms, rewards = np.asarray(arms), np.asarray(rewards, dtype=float)
        for name, values in (("arms", arms), ("rewards", rewards)):
            if values.shape != (len(features),):
                raise ValueError(f"{name} have shape {values.shape}; expected ({len(features)},)")
        unknown = arms[~np.isin(arms, np.arange(self.num_arms))]
        if unknown.size:
            raise ValueError(f"arm is {unknown[0]}; allowed is 0 to {self.num_arms - 1}")
        if not np.isfinite(rewards).all():
            raise ValueError(f"reward is {rewards[~np.isfinite(rewards)][0]}; allowed is finite")
        for seen, arm, reward in zip(features, arms.astype(int), rewards, strict=True):
            own, x = (0, seen[arm]) if self.context_per_arm else (arm, seen[0])
            inverse = self.inverses[own]
            direction = inverse @ x
            # Sherman and Morrison: the inverse of A + x x'.
            inverse -= np.outer(direction, direction / (1.0 + x @ direction))
            self._reward_sums[own] += reward * x
            self._feature_sums[own] += x
            self.count += 1
            before = reward - self.mean
            self.mean += before / self.count  # Welford's running moments
            self._squares += before * (reward - self.mean)

    def _features(self, contexts: np.ndarray) -> np.ndarray:
        """The contexts with a 1 behind, [B, 1 or K, d + 1], or an error that says what is wrong."""
        contexts = np.asarray(contexts, dtype=float)
        shape = (self.num_arms, self.dim) if self.context_per_arm else (self.dim,)
        if contexts.ndim != 1 + len(shape) or contexts.shape[1:] != shape:
            expected = ", ".join(map(str, ("B", *shape)))
            raise ValueError(f"contexts have shape {contexts.shape}; expected ({expected})")
        if not np.isfinite(contexts).all():
            raise ValueError("contexts hold NaN or infinity; allowed is finite")
        contexts = contexts.reshape(len(contexts), -1, self.dim)
        return np.concatenate([contexts, np.ones((*contexts.shape[:2], 1))], axis=2)


class LinearBandit(ABC):
    """What the three share; their other arguments, and the errors, are those of `Ridge`."""

    def __init__(self, regression: Ridge, seed: int | None):
        self.regression = regression
        # Two generators, so that what is asked of `greedy` does not change what is explored.
        streams = np.random.SeedSequence(seed).spawn(2)
        self._exploring, self._exploiting = (np.random.default_rng(s) for s in streams)

    @abstractmethod
    def choose(self, contexts: np.ndarray) -> np.ndarray:
        """Arms [B] for contexts, exploring."""

    def greedy(self, contexts: np.ndarray) -> np.ndarray:
        """The arms [B] of the highest mean reward for contexts."""
        return _argmax(self.regression.means(contexts), self._exploiting)

    def learn(self, contexts: np.ndarray, arms: np.ndarray, rewards: np.ndarray) -> None:
        """See `Ridge.learn`."""
        self.regression.learn(contexts, arms, rewards)


class LinUCB(LinearBandit):
    """Chooses by mean + alpha * width; alpha is not negative, 0 explores nothing."""

    def __init__(
        self,
        num_arms: int,
        dim: int,
        alpha: float = 1.0,
        ridge: float = 1.0,
        seed: int | None = 0,
        context_per_arm: bool = False,
    ):
        super().__init__(Ridge(num_arms, dim, ridge, context_per_arm), seed)
        _check_number("alpha", alpha, alpha >= 0, "not negative")
        self.alpha = alpha

    def choose(self, contexts: np.ndarray) -> np.ndarray:
        bounds = self.regression.means(contexts) + self.alpha * self.regression.widths(contexts)
        return _argmax(bounds, self._exploring)


class LinearThompson(LinearBandit):
    """Draws weights ~ N(w, scale^2 A^-1) for every arm and context, and chooses by x weights.

    `scale`, the paper's v, is not negative. As arms are independent, the scores of one context are
    independent too, N(mean, (scale * width)^2): they are drawn instead of the weights.
    """

    def __init__(
        self, num_arms: int, dim: int, scale: float = 1.0, ridge: float = 1.0, seed: int | None = 0
    ):
        super().__init__(Ridge(num_arms, dim, ridge), seed)
        _check_number("scale", scale, scale >= 0, "not negative")
        self.scale = scale

    def draw(self, contexts: np.ndarray) -> np.ndarray:
        """Scores of all arms, standardised rewards: [B, K]."""
        means, widths = self.regression.means(contexts), self.regression.widths(contexts)
        return means + self.scale * widths * self._exploring.standard_normal(means.shape)

    def choose(self, contexts: np.ndarray) -> np.ndarray:
        return _argmax(self.draw(contexts), self._exploring)


class EpsilonGreedy(LinearBandit):
    """The t-th choice is any arm with probability min(1, random_choices / t), else the best mean.

    A constant probability would pay the price of exploring for ever; one that falls as 1 / t makes
    random_choices * (1 + log(T / random_choices)) random choices in T, enough to sort out arms.
    `random_choices` is not negative; as many choices are random before any other.
    """

    def __init__(
        self,
        num_arms: int,
        dim: int,
        random_choices: float = 100.0,
        ridge: float = 1.0,
        seed: int | None = 0,
    ):
        super().__init__(Ridge(num_arms, dim, ridge), seed)
        _check_number("random_choices", random_choices, random_choices >= 0, "not negative")
        self.random_choices = random_choices
        self._choices = 0  # made so far

    def choose(self, contexts: np.ndarray) -> np.ndarray:
        best = _argmax(self.regression.means(contexts), self._exploring)
        t = self._choices + 1 + np.arange(len(best))
        self._choices += len(best)
        any_arm = self._exploring.integers(self.regression.num_arms, size=len(best))
        explores = self._exploring.random(len(best)) < self.random_choices / t
        return np.where(explores, any_arm, best)

    def chances(self, contexts: np.ndarray) -> np.ndarray:
        """How likely `choose` would take each arm for the same contexts, [B, K]."""
        means = self.regression.means(contexts)
        best = means == means.max(axis=1, keepdims=True)
        t = self._choices + 1 + np.arange(len(best))
        any_arm = np.minimum(1.0, self.random_choices / t)[:, None]
        share = best / best.sum(axis=1, keepdims=True)
        return any_arm / self.regression.num_arms + (1.0 - any_arm) * share


def play(bandit: LinearBandit, problem: Problem, rounds: int, seed: int) -> np.ndarray:
    """Let a bandit choose and learn, one round after the other.

    Args:
        problem: one copy, with one agent, episodes of one step, and "regret" among its metrics.
        rounds: not negative.
        seed: of the first one; the others go on from there.

    Returns:
        The regret of each round, [rounds].
    """
    regrets = np.zeros(rounds)
    for index in range(rounds):
        contexts = problem.reset(None if index else [seed])[:, 0]
        arms = bandit.choose(contexts)
        rewards = problem.step(arms[:, None])[1][:, 0]
        bandit.learn(contexts, arms, rewards)
        regrets[index] = problem.metrics()["regret"][0]
    return regrets


def _argmax(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The column of the highest score in each row, one of them at random if there are several."""
    best = scores == scores.max(axis=1, keepdims=True)
    return np.where(best, rng.random(scores.shape), -1.0).argmax(axis=1)


def _check_number(name: str, value: float, good: bool, allowed: str) -> None:
    if not (good and np.isfinite(value)):
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}, and finite")
