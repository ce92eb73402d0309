"""KV compression on prompts of a file, by a tiny model with a tokenizer, both made here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kv_compression_cases import NO_TEXT, built, start, step
from language_models import CONFIGS, save
from transformers import BertConfig, BertModel, BertTokenizerFast
from word_tokenizer import WORDS, save_tokenizer

from marlserve.envs.kv_compression import Config, Problem, encoded, observation, table
from marlserve.envs.kv_compression.arms import parse
from marlserve.envs.kv_compression.live import Live
from marlserve.envs.kv_compression.longbench_templates import context_text, question_text
from marlserve.envs.kv_compression.prompts import LongBench
from marlserve.envs.sims import text_encoder
from marlserve.envs.sims.kv_compression import compression, language_model
from marlserve.envs.sims.text_encoder import TextEncoder
from marlserve.traces import longbench

SETS = ("hotpotqa", "gov_report", "lcc", "qasper")
ARMS = ("h2o", "tova", "sigmoid_10_4", "h2o@20", "full")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """A model's folder, and 30 samples: of 28 contexts, two of which are asked about twice."""
    folder, rng = tmp_path_factory.mktemp("model"), np.random.default_rng(0)
    save(CONFIGS["llama"], folder)
    save_tokenizer(folder)
    contexts = [" ".join(f"w{i}" for i in rng.integers(57, size=40 + n // 2)) for n in range(28)]
    contexts += contexts[:2]  # of the same sets
    lines = [
        {
            "context": context,
            "input": f"w{n} w{n + 1} ?",
            "answers": ["w0"],
            "length": 50,
            "dataset": SETS[n % 4],
            "language": "en",
            "all_classes": None,
            "_id": str(n),
        }
        for n, context in enumerate(contexts)
    ]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return Config(
        model_name=str(folder),
        prompts_path=str(folder / "samples.jsonl"),
        arms=ARMS,
        budgets=(6, 12),
        num_prompts=6,
        answer_tokens=8,
        max_prompt_tokens=120,
        context=NO_TEXT,
        tagged=True,
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """The folder of a tiny sentence-transformers model."""
    # Here, as it takes seconds that other processes of tests need not spend.
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    bert, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("encoder")
    size = {"hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 1}
    size |= {"num_attention_heads": 2, "initializer_range": 1.0, "vocab_size": 62}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(**size)).save_pretrained(bert)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[3:]]
    vocabulary = {word: i for i, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(bert)
    modules = [Transformer(str(bert)), Pooling(12, pooling_mode="mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return str(folder)


def prompts_of(config: Config) -> LongBench:
    return LongBench(config, language_model.load(config.model_name).tokenizer)


def ids(text: str) -> list[int]:
    return [WORDS.index(word) if word in WORDS else 0 for word in text.split()]


def answers(config: Config, prompt, name: str, end: int = 2) -> tuple[list[int], list[int]]:
    """With an arm's cache and with the full one, by the simulator's steps and as far as they
    count: up to the end of the full one; whoever ends earlier repeats the end."""
    model, method = language_model.load(config.model_name).model, parse(name).method
    weights = method.query_weights(len(prompt.tokens))[None]
    read = compression.prefill(model, prompt.tokens, weights)
    cut = compression.compressed(read, [method], [0], prompt.budget, config.recent)
    said = [compression.answer(model, x, prompt.turns)[0].tolist() for x in (cut, read.cache)]
    cut, full = (x[: [*x, end].index(end)] + [end] * len(x) for x in said)
    counted = min(full.index(end) + 1, len(said[1]))
    return cut[:counted], full[:counted]


# Prompts ------------------------------------------------------------------------------------------


def test_a_prompt_is_the_context_and_its_turn_the_question(config):
    prompts, everything, found = prompts_of(config), longbench.load(config.prompts_path), set()
    for index in range(6):
        prompt = prompts[index]
        asked = [sample for sample in everything if context_text(sample) == prompt.text]
        assert prompt.tokens.tolist() == [1, *ids(prompt.text)]
        ((question, number),) = prompt.turns
        assert question.tolist() in [ids(question_text(sample)) for sample in asked]
        assert number == 8
        assert prompts.types[prompt.type] == asked[0].group
        assert prompt.budget in (6, 12)
        assert prompt.special == {0, 1, 2}
        found.add(prompt.type)
    assert prompts.types == tuple(longbench.GROUPS)
    assert len(found) >= 3
    lengths = [
        x.turns[0][1]
        for x in map(prompts_of(replace(config, answer_tokens=999)).__getitem__, range(6))
    ]
    assert {32, 64, 128, 512} >= set(lengths) != {512}


@pytest.mark.parametrize("most", [16, 21])
def test_a_long_context_loses_its_middle(config, most):
    whole, cut = prompts_of(config), prompts_of(replace(config, max_prompt_tokens=most))
    for index in range(3):
        tokens = whole[index].tokens.tolist()
        assert cut[index].tokens.tolist() == tokens[: -(-most // 2)] + tokens[-(most // 2) :]
        assert cut[index].turns[0][0].tolist() == whole[index].turns[0][0].tolist()
    problem = start(replace(config, max_prompt_tokens=most, context=("length",)), 1)
    assert problem.observations().ravel().tolist() == [1.0]


def test_splits_share_no_context_and_keep_what_is_asked_about_one_together(config):
    everything, learned_from = longbench.load(config.prompts_path), []
    for seed in range(5):
        parts = []
        for split in ("train", "validation", "test"):
            part = replace(config, split=split, prompt_seed=seed)
            parts.append([prompts_of(part)[index].text for index in range(6)])
        assert len(set().union(*parts)) == sum(len(set(part)) for part in parts)
        learned_from.append(tuple(parts[0]))
        for part in parts:
            for text in part[:-1]:
                assert part.count(text) == sum(context_text(x) == text for x in everything)
    assert len(set(learned_from)) == 5


def test_what_cannot_be_read_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"num_prompts is 50; .*jsonl has \d+ samples for 'train'"):
        Problem(replace(config, num_prompts=50))
    with pytest.raises(ValueError, match="model 'small_llama' has no tokenizer, and cannot read '"):
        Problem(replace(config, model_name="small_llama"))
    with pytest.raises(FileNotFoundError, match="nothing"):
        Problem(replace(config, prompts_path=str(tmp_path / "nothing")))
    (tmp_path / "bad.jsonl").write_text("{}")
    with pytest.raises(ValueError, match="bad.jsonl, line 1: no field context"):
        Problem(replace(config, prompts_path=str(tmp_path / "bad.jsonl")))


# Answers ------------------------------------------------------------------------------------------


def test_answers_are_those_of_a_cache_that_was_compressed_before_the_question(config):
    live, prompts, differing = Live(config), prompts_of(config), 0
    for index in range(4):
        found = live.outcomes(index, range(len(ARMS)))
        for arm, name in enumerate(("h2o", "tova", "sigmoid_10_4")):
            cut, full = answers(config, prompts[index], name)
            assert found["agreement"][arm] == np.float32(np.mean(np.equal(cut, full)))
            differing += found["agreement"][arm] < 1
            assert found["entries"][arm] == prompts[index].budget
        assert found["agreement"][-1] == found["cosine"][-1] == 1.0
        assert found["entries"][-2:].tolist() == [20, len(prompts[index].tokens)]
    assert differing > 3


def test_what_comes_after_the_end_does_not_count(config, tmp_path):
    """The end is a word that the model says in the middle of an answer."""
    prompts = prompts_of(config)
    said = [answers(config, prompts[index], "h2o")[1] for index in range(6)]
    ends = ((i, x) for i, full in enumerate(said) for x in full[2:7] if x not in full[:2])
    index, end = next(ends)
    save(CONFIGS["llama"], tmp_path)
    save_tokenizer(tmp_path, end=WORDS[end])
    ending = replace(config, model_name=str(tmp_path))
    assert prompts_of(ending).end_token == end
    found = Live(ending).outcomes(index, range(5))["agreement"]
    for arm, name in enumerate(ARMS[:3]):
        cut, full = answers(config, prompts[index], name, end)
        assert 3 <= len(full) < 8
        assert found[arm] == np.float32(np.mean(np.equal(cut, full)))
    assert found[4] == 1.0


def test_questions_are_not_seen(config, tmp_path):
    lines = [json.loads(line) for line in Path(config.prompts_path).read_text().splitlines()]
    for line in lines:
        line["input"] = "w50 w51 w52"
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, lines)))
    problems = (
        start(config, 4),
        start(replace(config, prompts_path=str(tmp_path / "other.jsonl")), 4),
    )
    np.testing.assert_array_equal(*(problem.observations() for problem in problems))
    agreements = []
    for problem in problems:
        problem.step(np.zeros((4, 1), int))
        agreements.append(problem.metrics()["agreement"])
    assert (agreements[0] != agreements[1]).any()


@pytest.mark.slow
def test_it_is_a_problem_like_any_other_and_has_a_table(config, tmp_path):
    tabled = built(tmp_path, config)
    for split in ("train", "test"):
        problem, asked = (start(replace(x, split=split), 5) for x in (tabled, config))
        np.testing.assert_array_equal(problem.observations(), asked.observations())
        assert problem.observation_space.contains(problem.observations()[0, 0])
        np.testing.assert_array_equal(
            problem.observations()[:, 0, :6].argmax(1), problem.prompt_types()
        )
        np.testing.assert_array_equal(problem.rewards_of_all_arms(), asked.rewards_of_all_arms())
        np.testing.assert_array_equal(step(problem, 2), step(asked, 2))
        assert problem.types == tuple(longbench.GROUPS)


# Texts --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_texts_are_seen_and_compared_by_an_encoder(config, encoder, tmp_path, monkeypatch):
    loaded, load = [], text_encoder._loaded
    monkeypatch.setattr(text_encoder, "_loaded", lambda *x: loaded.append(x) or load(*x))
    observation._loaded.cache_clear()
    config = replace(config, text_encoder=encoder, reward="cosine", context=("length", "text"))
    tabled = built(tmp_path, config)
    problem, asked = start(tabled, 4), start(config, 4)
    assert len(loaded) == 1
    prompts = prompts_of(config)
    expected = TextEncoder(encoder).encode([prompts[i].text for i in problem.prompts])
    np.testing.assert_allclose(problem.observations()[:, 0, 1:], expected, atol=1e-6)
    np.testing.assert_array_equal(problem.observations(), asked.observations())
    np.testing.assert_array_equal(problem.rewards_of_all_arms(), asked.rewards_of_all_arms())
    np.testing.assert_array_equal(step(problem, 0), step(asked, 0))

    tokenizer = language_model.load(config.model_name).tokenizer
    for copy, index in enumerate(problem.prompts):
        texts = tokenizer.batch_decode(
            answers(config, prompts[index], "h2o"), skip_special_tokens=True
        )
        one, other = TextEncoder(encoder).encode(texts).astype(float)
        assert problem.metrics()["cosine"][copy] == pytest.approx(max(one @ other, 0.0), abs=1e-6)
    assert (problem.rewards_of_all_arms()[:, -1] == 1.0).all()
    assert len(set(problem.rewards_of_all_arms().ravel())) > 3


@pytest.mark.slow
def test_a_table_is_told_anew_by_an_encoder(config, encoder, tmp_path, monkeypatch):
    config = replace(config, context=("length",))
    asked = replace(config, text_encoder=encoder, context=("length", "text"))
    plain, made, again = (tmp_path / name for name in ("plain", "made", "again"))
    built(plain, config)
    built(made, asked)
    monkeypatch.setattr(compression, "prefill", None)  # no prompt is read again
    encoded.build(plain, again, asked, 0)
    with (
        np.load(made / "train-000000.npz") as expected,
        np.load(again / "train-000000.npz") as found,
    ):
        assert set(found.files) == set(expected.files)
        for name in expected.files:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert (again / "table.json").read_text() == (made / "table.json").read_text()

    with pytest.raises(ValueError, match="text_encoder is ''; name the one to encode with"):
        encoded.build(plain, again, config, 0)
    with pytest.raises(ValueError, match="holds another table: text_encoder is ''"):
        encoded.build(made, plain, asked, 0)
    with pytest.raises(ValueError, match="plain lacks the validation prompts from 0"):
        encoded.build(plain, again, replace(asked, split="validation"), 0)
    with np.load(plain / "train-000000.npz") as file:
        left = {name: values for name, values in file.items() if name != table.SAID}
    np.savez_compressed(plain / "train-000000.npz", **left)
    with pytest.raises(ValueError, match="does not tell what was said"):
        encoded.build(plain, tmp_path / "other", asked, 0)
