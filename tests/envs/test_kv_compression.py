"""The KV-compression problem: what an arm does to a prompt, and what that earns."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from kv_compression_cases import NO_TEXT, SMALL, VARIED, WHOLE, start, step

from marlserve.envs.kv_compression import rewards
from marlserve.envs.kv_compression.arms import parse
from marlserve.envs.kv_compression.live import OUTCOMES, Live
from marlserve.envs.kv_compression.prompts import Synthetic
from marlserve.envs.sims.kv_compression import compression, language_model

H2O, H2O_32, FULL, WINDOW = map(VARIED.arms.index, ("h2o", "h2o@32", "full", f"window_4@{WHOLE}"))


@pytest.fixture(scope="module")
def live() -> Live:
    return Live(VARIED)


# The table and the model --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "reward", "entry_price"), [("train", "agreement", 0.0), ("test", "cosine", 0.002)]
)
def test_the_live_model_and_its_table_give_the_same_to_the_last_bit(
    small_kv_compression, split, reward, entry_price
):
    config = replace(
        small_kv_compression, split=split, reward=reward, entry_price=entry_price, context=NO_TEXT
    )
    tabled, asked = start(config, 8, 3), start(replace(config, table_path=""), 8, 3)
    assert (tabled.types, tabled.arm_names) == (asked.types, asked.arm_names)
    np.testing.assert_array_equal(tabled.prompts, asked.prompts)
    np.testing.assert_array_equal(tabled.observations(), asked.observations())
    np.testing.assert_array_equal(tabled.rewards_of_all_arms(), asked.rewards_of_all_arms())
    arms = np.random.default_rng(0).integers(len(config.arms), size=8)
    np.testing.assert_array_equal(step(tabled, arms), step(asked, arms))
    assert tabled.metrics().keys() == asked.metrics().keys() | {"regret"}
    for name, values in asked.metrics().items():
        np.testing.assert_array_equal(tabled.metrics()[name], values, err_msg=name)


@pytest.mark.parametrize(("reward", "entry_price"), [("agreement", 0.0), ("cosine", 0.01)])
def test_regret_is_what_the_best_arm_would_have_earned_more(
    small_kv_compression, reward, entry_price
):
    config = replace(small_kv_compression, reward=reward, entry_price=entry_price)
    earned, regrets = [], []
    for arm in range(len(config.arms)):
        problem = start(config, 30)
        earned.append(step(problem, arm))
        metrics = problem.metrics()
        regrets.append(metrics["regret"])
        paid = metrics[reward] - entry_price * metrics["entries"]
        np.testing.assert_array_equal(earned[-1], paid.astype(np.float32))
    np.testing.assert_array_equal(
        np.array(earned).T, problem.rewards_of_all_arms().astype(np.float32)
    )
    np.testing.assert_allclose(regrets, np.max(earned, 0) - earned, atol=1e-6)
    assert (np.min(regrets, 0) == 0.0).all()
    assert np.max(regrets) > 0.2


# Arms ---------------------------------------------------------------------------------------------


def test_all_arms_side_by_side_are_each_arm_alone(live):
    different = 0
    for index in range(6):
        together = live.outcomes(index, range(len(VARIED.arms)))
        for arm, arm_name in enumerate(VARIED.arms):
            alone = live.outcomes(index, [arm])
            for name in OUTCOMES:
                assert alone[name] == together[name][arm], (index, arm_name, name)
        different = max(different, len(set(together["cosine"].tolist())))
    assert different > 5


@pytest.mark.parametrize("name", VARIED.arms[: H2O_32 + 1])
def test_an_arm_is_its_method_alone_on_the_prompt(live, name):
    """By the steps of the simulator: read, compress, answer; once for each method."""
    arm, model = parse(name), language_model.load().model
    for index in range(3):
        prompt = Synthetic(SMALL)[index]
        budget = arm.budget or prompt.budget
        weights = arm.method.query_weights(len(prompt.tokens))[None]
        read = compression.prefill(model, prompt.tokens, weights)
        full = compression.answer(model, read.cache.copy(), prompt.turns)[0]
        cache = compression.compressed(read, [arm.method], [0], budget, SMALL.recent)
        answer = compression.answer(model, cache, prompt.turns)[0]
        found = live.outcomes(index, [VARIED.arms.index(name)])
        assert found["agreement"][0] == np.float32((answer == full).double().mean())
        assert found["entries"][0] == budget


def test_the_whole_cache_answers_as_the_whole_cache(live):
    for index in range(10):
        found = live.outcomes(index, [WINDOW, FULL])
        assert found["agreement"].tolist() == found["cosine"].tolist() == [1.0, 1.0]
        assert found["entries"].tolist() == [WHOLE, WHOLE]


def test_each_prompt_has_one_of_the_budgets_unless_the_arm_has_its_own(live, small_kv_compression):
    config = replace(small_kv_compression, context=("budget",))
    problem = start(config, 40)
    assert (problem.observations() < 1).all()
    step(problem, H2O)
    entries = problem.metrics()["entries"]
    assert set(entries) == set(config.budgets) == {8, 24}
    np.testing.assert_allclose(problem.observations()[:, 0, 0], entries / WHOLE, rtol=1e-6)
    for prompt in np.unique(problem.prompts):
        assert len(set(entries[problem.prompts == prompt])) == 1
    for prompt, own in zip(problem.prompts[:3].tolist(), entries, strict=False):
        assert live.outcomes(prompt, [H2O, H2O_32])["entries"].tolist() == [own, 32]


# Rewards ------------------------------------------------------------------------------------------


def test_agreement_by_hand():
    answers = torch.tensor([[5, 6, 7, 8], [5, 0, 7, 0], [6, 7, 8, 5]])
    assert rewards.agreement(answers, answers[0]).tolist() == [1.0, 0.5, 0.0]


def test_cosines_by_hand():
    class Model:
        def get_input_embeddings(self):
            return torch.nn.Embedding.from_pretrained(torch.tensor([[3.0, 0], [0, 3], [-3, 0]]))

    answers = torch.tensor([[0, 0], [0, 1], [1, 1], [2, 2], [2, 0]])
    found = rewards.token_cosine(answers, torch.tensor([0, 0]), Model())
    np.testing.assert_allclose(found, [1.0, 0.5**0.5, 0.0, 0.0, 0.0], atol=1e-12)

    class Encoder:
        def encode(self, texts, batch_size):
            assert batch_size == 1  # an answer's neighbours do not matter
            vectors = {"a": [0.6, 0.8], "b": [1.0, 0.0], "c": [-1.0, 0.0]}
            return np.array([vectors[text] for text in texts], np.float32)

    found = rewards.text_cosine(["a", "b", "c", "a"], "a", Encoder())
    np.testing.assert_allclose(found, [1.0, 0.6, 0.0, 1.0], rtol=1e-7)
    assert set(found[[0, 3]].astype(np.float32)) == {1.0}


def test_an_answer_counts_up_to_the_end_of_the_full_caches():
    reference = torch.tensor([7, 0, 9, 0, 9])
    lengths = [rewards.answer_length(reference, end) for end in (None, 7, 9, 0, 8)]
    assert lengths == [5, 1, 3, 2, 5]


def test_what_is_said_after_the_end_does_not_count(live, monkeypatch):
    index = next(i for i in range(40) if live.types[live.type(i)] == "copy")
    prompt, model = Synthetic(SMALL)[index], language_model.load().model
    read = live._read(index).prefill
    full = compression.answer(model, read.cache.copy(), prompt.turns)[0]
    cut = compression.compressed(read, [parse("h2o").method], [H2O], prompt.budget, SMALL.recent)
    short = compression.answer(model, cut, prompt.turns)[0]
    end = int(full[4])
    counted = full.tolist().index(end) + 1
    said = short[:counted].tolist()
    if end in said:
        said[said.index(end) :] = [end] * (counted - said.index(end))
    assert (short[counted:] == full[counted:]).double().mean() != 1.0
    monkeypatch.setattr(live._prompts, "end_token", end, raising=False)
    expected = np.mean(np.array(said) == full[:counted].numpy())
    assert live.outcomes(index, [H2O])["agreement"][0] == np.float32(expected)


# Episodes -----------------------------------------------------------------------------------------


def test_an_episode_is_one_step(small_kv_compression):
    problem = start(small_kv_compression, 3)
    before = problem.metrics()
    assert before["arm"].tolist() == [-1.0] * 3
    assert not any(before[name].any() for name in (*OUTCOMES, "regret"))
    np.testing.assert_array_equal(problem.windows(), problem.prompts)
    shown, _, terminated, truncated = problem.step(np.array([[0], [5], [9]]))
    assert terminated.all()
    assert not truncated.any()
    assert problem.metrics()["arm"].tolist() == [0.0, 5.0, 9.0]
    np.testing.assert_array_equal(problem.metrics()["type"], problem.prompt_types())
    np.testing.assert_array_equal(shown[:, 0], problem.state())
    problem.reset([7], copies=[1])
    assert problem.metrics()["arm"].tolist() == [0.0, -1.0, 9.0]
    np.testing.assert_array_equal(problem.reset(copies=[]), problem.observations())


def test_prompts_are_drawn_alike_and_those_of_training_and_test_are_others():
    one, other = start(SMALL, 2), start(SMALL, 2)
    for problem in (one, other):
        problem.reset()
    np.testing.assert_array_equal(one.prompts, other.prompts)
    np.testing.assert_array_equal(one.observations(), other.observations())
    splits = [Synthetic(replace(SMALL, split=split)) for split in ("train", "test")]
    splits.append(Synthetic(replace(SMALL, prompt_seed=1)))
    texts = [{bytes(prompts[i].numbers) for i in range(40)} for prompts in splits]
    assert len(set.union(*texts)) == 120


def test_a_problem_travels_without_the_model():
    problem = start(SMALL, 2)
    travelled = pickle.dumps(problem)
    assert len(travelled) < 20_000
    twin = pickle.loads(travelled)
    np.testing.assert_array_equal(step(twin, H2O), step(problem, H2O))


@pytest.mark.slow
@pytest.mark.parametrize("tabled", [True, False], ids=["table", "live"])
def test_pictures(small_kv_compression, tabled):
    problem = start(replace(small_kv_compression, **({} if tabled else {"table_path": ""})), 2)
    type_ = problem.types[problem.prompt_types()[1]]
    assert problem.render(1, "ansi") == f"prompt {problem.prompts[1]}, type {type_}\nno arm yet"
    before = problem.render(1, "rgb_array")
    step(problem, H2O)
    assert problem.render(1, "ansi").splitlines()[1].startswith("h2o keeps ")
    after = problem.render(1, "rgb_array")
    assert before.shape == after.shape
    assert (before != after).any()
