"""What learned policies are compared with on KV compression, against the table by hand."""

from dataclasses import replace

import numpy as np
import pytest
from kv_compression_cases import SMALL, start, step

from marlserve.envs.kv_compression import BASELINES, Problem, baselines
from marlserve.envs.kv_compression.arms import GRID
from marlserve.envs.kv_compression.baselines import BANDITS, trained
from marlserve.envs.kv_compression.table import Table
from marlserve.envs.linear_bandits import LinUCB

LEARNED = tuple(BANDITS)
FROM_TRAINING = ("best_fixed", "best_per_type", *LEARNED)


@pytest.fixture(params=["agreement", "cosine less a price"])
def config(request, small_kv_compression):
    """Of the test prompts."""
    changes = {} if request.param == "agreement" else {"reward": "cosine", "entry_price": 0.01}
    return replace(small_kv_compression, split="test", **changes)


def rewards_in_the_table(config, split: str) -> np.ndarray:
    """Of all prompts and arms, [P, K]."""
    found = Table(replace(config, split=split)).all_outcomes()
    return found[config.reward].astype(float) - config.entry_price * found["entries"].astype(float)


def types_in_the_table(config, split: str) -> np.ndarray:
    return Table(replace(config, split=split)).type(np.arange(config.num_prompts))


def chosen(name: str, problem: Problem) -> np.ndarray:
    """Arms [B] for the prompts that the copies are at."""
    policy = BASELINES[name].policy(problem)
    return policy({"compressor": problem.observations()[:, 0]})["compressor"]


def everywhere(config) -> Problem:
    """A copy at every prompt."""
    problem = start(config, config.num_prompts)
    problem.prompts[:] = np.arange(config.num_prompts)
    problem._observations[:] = problem._contexts(problem.prompts)
    return problem


def earned(name: str, config) -> float:
    """On average over all prompts."""
    problem = everywhere(config)
    return float(step(problem, chosen(name, problem)).mean())


# Without learning ---------------------------------------------------------------------------------


def test_every_arm_of_the_grid_is_a_constant(config):
    problem = start(config, 3)
    for name in GRID:
        assert [config.arms[arm] for arm in chosen(name, problem)] == [name] * 3
    fewer = start(replace(SMALL, arms=("h2o",)), 1)
    with pytest.raises(ValueError, match=r"arm 'sigmoid_10_4' is not among .*: \('h2o',\)"):
        chosen("sigmoid_10_4", fewer)


def test_best_fixed_is_best_on_the_training_prompts(config):
    means = rewards_in_the_table(config, "train").mean(axis=0)
    assert set(chosen("best_fixed", start(config, 5))) == {means.argmax()}


def test_best_per_type_is_best_on_the_training_prompts_of_the_type(config):
    rewards, types = rewards_in_the_table(config, "train"), types_in_the_table(config, "train")
    problem = everywhere(config)
    found = chosen("best_per_type", problem)
    for prompt, kind in enumerate(types_in_the_table(config, "test")):
        alike = [reward for reward, type_ in zip(rewards, types, strict=True) if type_ == kind]
        assert found[prompt] == np.mean(alike, axis=0).argmax()
    assert config.entry_price or len(set(found)) > 2


def test_the_oracle_has_no_regret(config):
    rewards, problem = rewards_in_the_table(config, "test"), everywhere(config)
    np.testing.assert_array_equal(chosen("oracle", problem), rewards.argmax(axis=1))
    step(problem, chosen("oracle", problem))
    assert not problem.metrics()["regret"].any()
    assert earned("oracle", config) == pytest.approx(rewards.max(axis=1).mean(), rel=1e-6)


def test_the_oracle_asks_the_model_where_there_is_no_table(small_kv_compression):
    tabled, asked = (
        start(replace(small_kv_compression, table_path=path), 3)
        for path in (small_kv_compression.table_path, "")
    )
    np.testing.assert_array_equal(chosen("oracle", tabled), chosen("oracle", asked))


def test_random_takes_all_arms_alike_and_does_not_depend_on_the_batch(small_kv_compression):
    problem = everywhere(replace(small_kv_compression, split="test"))
    found = chosen("random", problem)
    for copies in (1, 7):
        some = start(problem.config, copies)
        np.testing.assert_array_equal(chosen("random", some), found[some.prompts])
    many = start(problem.config, 2)
    many.num_envs, many.prompts = 6000, np.arange(6000)
    arms = BASELINES["random"].policy(many)({"compressor": np.zeros((6000, 1))})["compressor"]
    counts = np.bincount(arms, minlength=len(SMALL.arms))
    assert counts.shape == (21,)
    assert counts.min() > 220  # of 286


# With learning ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_who_earns_most(config):
    """The order of what they know."""
    scores = {name: earned(name, config) for name in BASELINES}
    assert max(scores, key=scores.get) == "oracle"
    for name in ("best_per_type", *LEARNED):
        assert scores["random"] + 0.03 < scores[name] < scores["oracle"], scores
    assert scores["random"] < scores["best_fixed"], scores


@pytest.mark.parametrize("name", LEARNED)
def test_bandits_learn_from_the_training_prompts(config, name):
    rewards = rewards_in_the_table(config, "train")
    regrets = trained(name, start(config, 1))[1]
    assert regrets.shape == (3000,)
    assert (regrets >= 0).all()
    anything = (rewards.max(axis=1, keepdims=True) - rewards).mean()
    assert regrets[:20].mean() == pytest.approx(anything, abs=0.15)
    assert regrets[-1000:].mean() < 0.7 * anything


@pytest.fixture
def another(monkeypatch):
    """Makes a bandit one of the baselines, "another"."""

    def add(bandit):
        monkeypatch.setitem(BANDITS, "another", bandit)
        for tuned in baselines.TUNED.values():
            monkeypatch.setitem(tuned, "another", {"alpha": 1.0})
        baselines._trained.cache_clear()

    yield add
    baselines._trained.cache_clear()


def test_the_regret_of_a_round_is_that_of_its_arm(small_kv_compression, another):
    class Told(LinUCB):
        arms = ()

        def learn(self, contexts, arms, rewards):
            self.arms += ((arms[0], rewards[0]),)
            super().learn(contexts, arms, rewards)

    rewards = rewards_in_the_table(small_kv_compression, "train")
    another(Told)
    learner, regrets = trained("another", start(small_kv_compression, 1), rounds=50, seed=3)
    met = np.random.default_rng(3).integers(len(rewards), size=50)
    for index, (arm, reward), regret in zip(met, learner.arms, regrets, strict=True):
        assert reward == rewards[index, arm]
        assert regret == rewards[index].max() - reward


def test_a_bandit_is_trained_once_and_every_policy_has_its_own(small_kv_compression, another):
    made = []

    def bandit(*args, **kwargs):
        made.append(kwargs["seed"])
        return LinUCB(*args, **kwargs)

    another(bandit)
    for num_envs, split in ((1, "train"), (5, "test"), (5, "test")):
        problem = start(replace(small_kv_compression, split=split), num_envs)
        first, second = (baselines.learns("another", seed=4)(problem) for _ in range(2))
        shown = {"compressor": problem.observations()[:, 0]}
        np.testing.assert_array_equal(first(shown)["compressor"], second(shown)["compressor"])
        learner, regrets = trained("another", problem, seed=4)
        assert (regrets >= 0).all()
        assert learner.regression.inverses.any()
        learner.regression.inverses[:], regrets[:] = 0.0, -1.0  # of this one alone
    assert made == [4]
    trained("another", problem, rounds=10, seed=5)
    trained("another", start(replace(problem.config, reward="cosine"), 1), rounds=10, seed=5)
    assert made == [4, 5, 5]


@pytest.mark.parametrize("name", FROM_TRAINING)
def test_what_learns_needs_a_table(name):
    with pytest.raises(ValueError, match="table_path is ''; what learns .* needs a table of them"):
        chosen(name, start(replace(SMALL, arms=("h2o", "full")), 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LEARNED, "random", "oracle", "best_per_type", "h2o"])
def test_they_play_one_episode_as_many(config, name):
    batch = start(config, 4, seed=20)
    arms = chosen(name, batch)
    for copy in range(4):
        np.testing.assert_array_equal(chosen(name, start(config, 1, seed=20 + copy)), arms[copy])


def test_only_those_who_are_told_the_type_or_the_rewards_are_oracles():
    assert {name for name, x in BASELINES.items() if x.oracle} == {"oracle", "best_per_type"}
    assert set(GRID) < set(BASELINES)
