"""Off-policy estimates against a simulator that knows what its policies get."""

import numpy as np
import pytest

from marlserve.envs import off_policy_estimates as estimates
from marlserve.envs.contextual_bandit import FUNCTIONS, Config, Problem

ARMS, ROUNDS, REPEATS = 3, 200, 100
CONFIG = Config(num_arms=ARMS, dim=2, noise_std=0.5, function="inner_product")


def wanted(contexts: np.ndarray) -> np.ndarray:
    """The target policy's chances: mostly the arm whose context points most to a side, [n, K]."""
    best = np.abs(contexts[..., 0]).argmax(axis=1)
    return 0.1 / ARMS + 0.9 * np.eye(ARMS)[best]


class Log:
    """Rounds that a policy of other tastes played."""

    def __init__(self, contexts: np.ndarray, expected: np.ndarray, rng: np.random.Generator):
        self.contexts, self.expected = contexts, expected
        liking = np.exp(1.5 * contexts[..., 1])
        chances = liking / liking.sum(axis=1, keepdims=True)
        self.actions = (rng.random((ROUNDS, 1)) > chances.cumsum(axis=1)).sum(axis=1)
        at = np.arange(ROUNDS), self.actions
        self.rewards = expected[at] + rng.normal(0, CONFIG.noise_std, ROUNDS)
        self.target = wanted(contexts)
        self.weights = estimates.importance_weights(self.target[at], chances[at])
        x, y = contexts[..., 0], contexts[..., 1]
        self.plain = np.concatenate([x * x, x * y], axis=1)

    def estimate(self, how: str) -> estimates.OffPolicyEstimate:
        if how == "ips":
            return estimates.ips(self.rewards, self.weights)
        if how == "snips":
            return estimates.snips(self.rewards, self.weights)
        model = estimates.reward_model(self.plain, self.actions, self.rewards, ARMS)
        if how == "doubly robust, wrong model":
            model = 10.0 - model
        given = self.rewards, self.weights, self.actions, model, self.target
        return estimates.doubly_robust(*given)


@pytest.fixture(scope="module")
def problem() -> Problem:
    made = Problem(CONFIG, ROUNDS * REPEATS)
    made.reset(list(range(ROUNDS * REPEATS)))
    return made


@pytest.fixture(scope="module")
def truth(problem) -> float:
    """The mean reward of the target policy, of very many rounds."""
    contexts = np.random.default_rng(0).normal(size=(200_000, ARMS, CONFIG.dim))
    contexts /= np.linalg.norm(contexts, axis=-1, keepdims=True)
    expected = FUNCTIONS[CONFIG.function](contexts, problem.theta, problem.matrix)
    return float((wanted(contexts) * expected).sum(axis=1).mean())


@pytest.fixture(scope="module")
def logs(problem) -> list[Log]:
    rng, parts = np.random.default_rng(1), range(0, ROUNDS * REPEATS, ROUNDS)
    rounds = [slice(first, first + ROUNDS) for first in parts]
    return [Log(problem.contexts[x].astype(float), problem.expected[x], rng) for x in rounds]


HOW = ["ips", "snips", "doubly robust", "doubly robust, wrong model"]


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_the_mean_is_the_truth_and_intervals_cover_it(how, logs, truth):
    found = [log.estimate(how) for log in logs]
    values = np.array([each.value for each in found])
    assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(REPEATS)
    covered = np.mean([each.low <= truth <= each.high for each in found])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / REPEATS)


def test_what_is_known_besides_makes_it_sharper(logs):
    spread = {how: np.std([log.estimate(how).value for log in logs]) for how in HOW}
    assert spread["doubly robust"] < spread["snips"] < spread["ips"]


def test_the_mean_of_what_was_logged_is_another(logs, truth):
    """Or all of the above would show nothing."""
    assert abs(np.mean([log.rewards.mean() for log in logs]) - truth) > 0.5


def test_equal_weights_count_whole_and_one_counts_alone():
    assert estimates.effective_samples(np.ones(50)) == 50.0
    assert estimates.effective_samples(np.array([1.0, 0.0, 0.0])) == 1.0
    same = estimates.importance_weights([0.5, 0.25], [0.5, 0.25])
    assert estimates.ips([1.0, 3.0], same).value == 2.0


@pytest.mark.parametrize(
    ("target", "logged", "said"),
    [
        ([0.5, 0.5], [0.5, 0.0], r"not in \(0, 1\]"),
        ([0.5, 1.5], [0.5, 0.5], r"not in \[0, 1\]"),
        ([0.5], [0.5], "shapes"),
        ([0.5, np.nan], [0.5, 0.5], r"not in \[0, 1\]"),
    ],
)
def test_chances_are_checked(target, logged, said):
    with pytest.raises(ValueError, match=said):
        estimates.importance_weights(target, logged)


def test_rewards_are_checked():
    weights = np.ones(3)
    with pytest.raises(ValueError, match="not finite"):
        estimates.ips([1.0, np.nan, 0.0], weights)
    with pytest.raises(ValueError, match="rewards have shape"):
        estimates.snips([1.0], weights)
    with pytest.raises(ValueError, match="all weights are 0"):
        estimates.snips([1.0, 1.0, 1.0], 0 * weights)
    with pytest.raises(ValueError, match="model and target"):
        estimates.doubly_robust(
            np.ones(3), weights, np.zeros(3, int), np.ones((3, 2)), np.ones((2, 2))
        )
