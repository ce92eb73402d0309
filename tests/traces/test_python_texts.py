"""Prompts made of the texts that come with Python: right answers, and documents that stay apart."""

import re
from types import SimpleNamespace

import pytest

from marlserve.envs.kv_compression.longbench_metrics import score
from marlserve.envs.kv_compression.longbench_templates import context_text, question_text
from marlserve.envs.kv_compression.prompts import split_samples
from marlserve.traces import longbench, python_texts

SPLITS = {"train": 100, "validation": 40, "test": 40}


@pytest.fixture(scope="module")
def samples():
    return python_texts.samples(seed=3)


def of(samples, dataset: str):
    return [sample for sample in samples if sample.dataset == dataset]


@pytest.mark.slow
def test_a_file_holds_them(samples, tmp_path):
    file = tmp_path / "new" / "prompts.jsonl"
    python_texts.write(file, samples)
    assert longbench.load(file) == samples
    assert len(samples) == len(python_texts.MAKERS) * python_texts.SHELVES * python_texts.PER_SHELF
    assert {sample.group for sample in samples} == set(longbench.GROUPS)
    assert len({sample.id for sample in samples}) == len(samples)
    lengths = [len(sample.context) for sample in samples]
    assert 1_000 < min(lengths) < 3_000 < 6_000 < max(lengths) < 12_000


@pytest.mark.slow
def test_a_seed_says_what_is_asked(samples):
    assert python_texts.samples(seed=3) == samples


@pytest.mark.slow
@pytest.mark.parametrize("dataset", sorted(python_texts.MAKERS.keys() - {"gov_report"}))
def test_the_right_answer_has_the_full_score(samples, dataset):
    for sample in of(samples, dataset)[:40]:
        said = sample.answers[0]
        if not re.search("`|#|//", said):  # the metric of code skips comments
            assert score(sample, said) == pytest.approx(1.0)
        assert context_text(sample) + question_text(sample)


@pytest.mark.slow
def test_answers_follow_from_the_context(samples):
    for sample in of(samples, "multifieldqa_en")[:40]:
        blank = re.search('missing in "(.*)"', sample.input)[1]
        sentence = blank.replace("____", sample.answers[0])
        assert " ".join(sample.context.split()).count(sentence) == 1
        assert sample.context.count(sample.answers[0]) == 1
    for sample in of(samples, "hotpotqa")[:40]:
        names = dict(re.findall(r"(U\+[0-9A-F]{4}) is ([A-Z0-9 -]+)\.", sample.context))
        one, other = re.findall(r"U\+[0-9A-F]{4}", sample.input)
        assert sample.answers == (f"{names[one]} and {names[other]}",)
    for sample in of(samples, "passage_retrieval_en")[:40]:
        (line,) = (x for x in sample.context.split("\n\n") if x.startswith(sample.answers[0] + ":"))
        assert line.split(": ", 1)[1].startswith(sample.input)
    for sample in of(samples, "trec")[:40]:
        assert f"\nType: {sample.answers[0]}" in sample.context or len(sample.all_classes) > 1
        assert sample.answers[0] in sample.all_classes
    for sample in of(samples, "lcc")[:40]:
        assert sample.answers[0].strip()


@pytest.mark.slow
def test_no_text_is_both_learned_from_and_played(samples):
    """Paragraphs, characters and lines of code of the splits are others."""
    seen = {}
    for split, number in SPLITS.items():
        config = SimpleNamespace(prompt_seed=1, split=split, split_prompts=number, prompts_path="")
        chosen = split_samples(samples, config)
        assert len(chosen) == number
        assert len({sample.group for sample in chosen}) == 6
        prose = of(chosen, "multifieldqa_en") + of(chosen, "gov_report")
        seen[split] = {x for sample in prose for x in sample.context.split("\n\n")}
        names = "\n".join(sample.context for sample in of(chosen, "hotpotqa"))
        seen[split] |= set(re.findall(r"U\+[0-9A-F]{4}", names))
        seen[split] |= {sample.document for sample in chosen}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
