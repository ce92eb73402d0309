"""Linear bandits: their regressions against closed forms, and how each of them explores."""

import pickle

import numpy as np
import pytest

from marlserve.envs.linear_bandits import EpsilonGreedy, LinearThompson, LinUCB, Ridge

BANDITS = (LinUCB, LinearThompson, EpsilonGreedy)
every_bandit = pytest.mark.parametrize("bandit", BANDITS)
ARMS, DIM = 4, 5


def taught(bandit, rounds: int, batch: int = 1, scale: float = 1.0, shift: float = 0.0):
    """Lets it learn on a bandit with linear rewards: contexts, arms, rewards, mean regret."""
    rng = np.random.default_rng(7)
    weights, offsets = rng.standard_normal((ARMS, DIM)), rng.standard_normal(ARMS)
    shown = rng.standard_normal((rounds, batch, DIM))
    noise = 0.5 * rng.standard_normal((rounds, batch, ARMS))
    arms, rewards, regret = [], [], []
    for contexts, each in zip(shown, noise, strict=True):
        expected = contexts @ weights.T + offsets
        arms.append(bandit.choose(contexts))
        row = np.arange(batch), arms[-1]
        rewards.append(scale * (expected + each)[row] + shift)
        regret.append(expected.max(axis=1) - expected[row])
        bandit.learn(contexts, arms[-1], rewards[-1])
    flat = shown.reshape(-1, DIM)
    return flat, np.concatenate(arms), np.concatenate(rewards), np.concatenate(regret)


# Regression ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 8])
def test_it_is_the_closed_form_of_ridge_regression(batch):
    bandit = LinUCB(ARMS, DIM, ridge=0.7)
    contexts, arms, rewards, _ = taught(bandit, 240 // batch, batch)
    queries = np.random.default_rng(1).standard_normal((6, DIM))
    asked = np.column_stack([queries, np.ones(6)])
    standard = (rewards - rewards.mean()) / rewards.std()
    regression = bandit.regression
    assert (regression.count, regression.mean) == (240, pytest.approx(rewards.mean()))
    assert regression.std == pytest.approx(rewards.std())
    for arm in range(ARMS):
        features = np.column_stack([contexts, np.ones(240)])[arms == arm]
        a = 0.7 * np.eye(DIM + 1) + features.T @ features
        weights = np.linalg.solve(a, features.T @ standard[arms == arm])
        widths = np.sqrt(np.diag(asked @ np.linalg.solve(a, asked.T)))
        np.testing.assert_allclose(regression.means(queries)[:, arm], asked @ weights, rtol=1e-9)
        np.testing.assert_allclose(regression.widths(queries)[:, arm], widths, rtol=1e-9)
    bounds = regression.means(queries) + bandit.alpha * regression.widths(queries)
    np.testing.assert_array_equal(bandit.choose(queries), bounds.argmax(axis=1))
    np.testing.assert_array_equal(bandit.greedy(queries), regression.means(queries).argmax(axis=1))


def test_it_stays_exact_after_many_rewards():
    rng, ridge = np.random.default_rng(2), Ridge(1, 30, ridge=1e-3)
    contexts = rng.standard_normal((5000, 30))
    ridge.learn(contexts, np.zeros(5000, int), rng.standard_normal(5000))
    features = np.column_stack([contexts, np.ones(5000)])
    a = 1e-3 * np.eye(31) + features.T @ features
    np.testing.assert_allclose(ridge.inverses[0] @ a, np.eye(31), atol=1e-8)


# Exploration --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 8])
def test_contexts_of_the_arms_share_one_regression(batch):
    """Li et al.'s formula by hand; a round with the context of the chosen arm alone."""
    rng, bandit = np.random.default_rng(3), LinUCB(ARMS, DIM, ridge=0.7, context_per_arm=True)
    weights, seen, rewards = rng.standard_normal(DIM), [], []
    for _ in range(240 // batch):
        contexts = rng.standard_normal((batch, ARMS, DIM))
        chosen = contexts[np.arange(batch), arms := bandit.choose(contexts)]
        seen.append(chosen)
        rewards.append(chosen @ weights + rng.standard_normal(batch))
        bandit.learn(contexts, arms, rewards[-1])
    x = np.column_stack([np.concatenate(seen), np.ones(240)])
    y = np.concatenate(rewards)
    a = 0.7 * np.eye(DIM + 1) + x.T @ x
    w = np.linalg.solve(a, x.T @ (y - y.mean()) / y.std())
    queries = rng.standard_normal((6, ARMS, DIM))
    for query, arm, best in zip(
        queries, bandit.choose(queries), bandit.greedy(queries), strict=True
    ):
        asked = np.column_stack([query, np.ones(ARMS)])
        widths = np.sqrt(np.diag(asked @ np.linalg.solve(a, asked.T)))
        np.testing.assert_allclose(bandit.regression.widths(query[None])[0], widths, rtol=1e-9)
        np.testing.assert_allclose(bandit.regression.means(query[None])[0], asked @ w, rtol=1e-9)
        assert arm == (asked @ w + widths).argmax()
        assert best == (asked @ w).argmax()
    with pytest.raises(ValueError, match=r"contexts have shape \(1, 5\); expected \(B, 4, 5\)"):
        bandit.choose(np.zeros((1, DIM)))


@pytest.mark.slow
@every_bandit
def test_each_learns(bandit):
    """The last of 1,500 choices are far better than those of one that only explores."""
    rng = np.random.default_rng(0)
    learner = bandit(ARMS, DIM)
    *_, regret = taught(learner, 1500)
    untaught = EpsilonGreedy(ARMS, DIM, random_choices=1e9)
    *_, random_regret = taught(untaught, 1500)
    assert regret.mean() < 0.35 * random_regret.mean()
    assert regret[-500:].mean() < 0.12 * random_regret.mean()
    contexts = rng.standard_normal((50, DIM))
    agree = (learner.greedy(contexts) == untaught.greedy(contexts)).mean()
    assert agree > 0.8, "both know by now which arm is the best"


@every_bandit
def test_the_scale_of_rewards_does_not_matter(bandit):
    first = taught(bandit(ARMS, DIM), 300)[1]
    np.testing.assert_array_equal(taught(bandit(ARMS, DIM), 300, scale=100.0)[1], first)
    np.testing.assert_array_equal(taught(bandit(ARMS, DIM), 300, scale=0.01, shift=5.0)[1], first)


@every_bandit
def test_seeds_repeat_and_asking_what_is_best_changes_nothing(bandit):
    first, again = taught(bandit(ARMS, DIM, seed=3), 100)[1], bandit(ARMS, DIM, seed=3)
    again.greedy(np.zeros((10, DIM)))
    np.testing.assert_array_equal(taught(again, 100)[1], first)
    assert (taught(bandit(ARMS, DIM, seed=4), 100)[1] != first).any()
    twin = pickle.loads(pickle.dumps(again))
    contexts = np.ones((20, DIM))
    np.testing.assert_array_equal(twin.choose(contexts), again.choose(contexts))


@every_bandit
def test_arms_of_which_nothing_is_known_are_alike(bandit):
    learner, contexts = bandit(ARMS, DIM), np.ones((4000, DIM))
    for arms in (learner.choose(contexts), learner.greedy(contexts)):
        shares = np.bincount(arms, minlength=ARMS) / 4000
        np.testing.assert_allclose(shares, 1 / ARMS, atol=0.03)


def test_thompson_draws_from_the_posteriors():
    """Mean and covariance of x weights, weights ~ N(w, scale^2 A^-1), arms independent."""
    bandit = LinearThompson(ARMS, DIM, scale=0.6)
    taught(bandit, 40)
    x = np.random.default_rng(5).standard_normal(DIM)
    draws = bandit.draw(np.tile(x, (20_000, 1)))
    feature = np.append(x, 1.0)
    variances = [0.36 * feature @ inverse @ feature for inverse in bandit.regression.inverses]
    deviations = np.sqrt(variances)
    means = bandit.regression.means(x[None])[0]
    assert (np.abs(draws.mean(axis=0) - means) < 4 * deviations / np.sqrt(20_000)).all()
    covariance = np.cov(draws.T) / np.outer(deviations, deviations)
    np.testing.assert_allclose(covariance, np.eye(ARMS), atol=0.04)
    chosen = np.bincount(bandit.choose(np.tile(x, (20_000, 1))), minlength=ARMS)
    best = np.bincount(draws.argmax(axis=1), minlength=ARMS)
    np.testing.assert_allclose(chosen / 20_000, best / 20_000, atol=0.02)


def test_epsilon_falls_as_one_over_t():
    wrong = np.zeros(1000)
    for seed in range(400):
        bandit = EpsilonGreedy(2, 1, random_choices=50, seed=seed)
        bandit.learn(np.zeros((2, 1)), [0, 1], [0.0, 1.0])
        chosen = [bandit.choose(np.zeros((size, 1))) for size in (30, 170, 800)]
        wrong += np.concatenate(chosen) == 0
    epsilon = np.minimum(1.0, 50 / np.arange(1, 1001))
    for part in (slice(0, 50), slice(50, 200), slice(200, 1000)):
        assert wrong[part].mean() / 400 == pytest.approx(epsilon[part].mean() / 2, rel=0.05)


@pytest.mark.parametrize(
    "bandit",
    [LinUCB(2, 1, alpha=0.0), LinearThompson(2, 1, scale=0.0), EpsilonGreedy(2, 1, 0.0)],
)
def test_without_exploration_all_are_greedy(bandit):
    bandit.learn(np.zeros((3, 1)), [0, 1, 1], [1.0, 0.0, 0.0])
    assert (bandit.choose(np.zeros((200, 1))) == 0).all()


def test_linucb_prefers_what_it_does_not_know():
    bandit = LinUCB(2, 1, alpha=5.0)
    bandit.learn(np.zeros((3, 1)), [0, 0, 0], [1.0, 1.1, 0.9])
    assert bandit.choose(np.zeros((1, 1))) == [1]


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinUCB(0, 3), "num_arms is 0; allowed is whole, at least 1"),
        (lambda: LinearThompson(3, 1.5), "dim is 1.5; allowed is whole, at least 1"),
        (lambda: EpsilonGreedy(3, 3, ridge=0.0), "ridge is 0.0; allowed is positive, and finite"),
        (lambda: LinUCB(3, 3, alpha=-1.0), "alpha is -1.0; allowed is not negative, and finite"),
        (lambda: LinearThompson(3, 3, scale=np.inf), "scale is inf; allowed is not negative"),
        (lambda: EpsilonGreedy(3, 3, -5), "random_choices is -5; allowed is not negative"),
    ],
)
def test_bad_settings_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every_bandit
def test_bad_input_is_an_error_and_teaches_nothing(bandit):
    learner, good = bandit(ARMS, DIM), np.zeros((2, DIM))
    for ask in (learner.choose, learner.greedy):
        with pytest.raises(ValueError, match=r"contexts have shape \(5,\); expected \(B, 5\)"):
            ask(np.zeros(DIM))
        with pytest.raises(ValueError, match="contexts hold NaN or infinity"):
            ask(np.full((1, DIM), np.nan))
    for arms, rewards, message in (
        ([0, 4], [0.0, 1.0], "arm is 4; allowed is 0 to 3"),
        ([-1, 0], [0.0, 1.0], "arm is -1; allowed is 0 to 3"),
        ([0.5, 0], [0.0, 1.0], "arm is 0.5; allowed is 0 to 3"),
        ([0], [0.0, 1.0], r"arms have shape \(1,\); expected \(2,\)"),
        ([0, 1], [[0.0, 1.0]], r"rewards have shape \(1, 2\); expected \(2,\)"),
        ([0, 1], [0.0, np.inf], "reward is inf; allowed is finite"),
    ):
        with pytest.raises(ValueError, match=message):
            learner.learn(good, arms, rewards)
    assert learner.regression.count == 0
    np.testing.assert_array_equal(learner.regression.inverses[2], np.eye(DIM + 1))


@pytest.mark.slow
def test_chances_of_epsilon_greedy_are_how_often_it_chooses():
    context, drawn = np.ones((1, 1)), np.zeros(3)
    for seed in range(3000):
        bandit = EpsilonGreedy(3, 1, random_choices=2, seed=seed)
        bandit.learn(np.ones((2, 1)), np.array([1, 2]), np.array([1.0, 0.0]))
        bandit.choose(np.ones((3, 1)))
        chances = bandit.chances(context)
        drawn[bandit.choose(context)] += 1
    np.testing.assert_allclose(chances, [[0.5 / 3, 0.5 / 3 + 0.5, 0.5 / 3]])
    np.testing.assert_allclose(drawn / 3000, chances[0], atol=0.04)
    np.testing.assert_allclose(EpsilonGreedy(4, 1, 0.0).chances(context), [[0.25] * 4])
