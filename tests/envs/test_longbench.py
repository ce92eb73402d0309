"""How LongBench asks and scores: its templates, and its metrics against values by hand."""

import hashlib
import json
import sys

import pytest

from marlserve.envs.kv_compression import longbench_metrics
from marlserve.envs.kv_compression.longbench_metrics import METRICS, score
from marlserve.envs.kv_compression.longbench_templates import (
    MAX_ANSWER_TOKENS,
    TEMPLATES,
    context_text,
    question_text,
)
from marlserve.traces.longbench import GROUPS, Sample

SETS = [name for names in GROUPS.values() for name in names]
# What a set asks of its samples; the other fields are free.
ANSWERS = {
    "passage_count": ["12"],
    "passage_retrieval_en": ["Paragraph 7"],
    "passage_retrieval_zh": ["段落7"],
}
CLASSES = ["Date", "Other location", "location", "City"]
CONTEXT = 'A "paper" with\u2028braces {input} and {other}.'
QUESTION = "Which {context} did they train?"


def sample(dataset: str, *answers: str) -> Sample:
    classes = tuple(CLASSES) if dataset in ("trec", "lsht") else ()
    return Sample(dataset, CONTEXT, QUESTION, answers, classes, 1, "en", "0")


@pytest.mark.parametrize("name", SETS)
def test_the_parts_of_a_prompt_join_to_the_template(name):
    one = sample(name, *ANSWERS.get(name, ["x"]))
    filled = TEMPLATES[name].format(context=CONTEXT, input=QUESTION)
    assert context_text(one) + question_text(one) == filled
    assert context_text(one).endswith(CONTEXT)
    assert (QUESTION in question_text(one)) == ("{input}" in TEMPLATES[name])
    assert name in GROUPS[one.group]
    assert MAX_ANSWER_TOKENS[name] in (32, 64, 128, 512)


def test_every_set_has_a_template_of_the_benchmark_and_a_metric():
    assert set(SETS) == set(TEMPLATES) == set(MAX_ANSWER_TOKENS) == set(METRICS)
    # Of the file dataset2prompt.json; a blank more or less is another benchmark.
    text = json.dumps(TEMPLATES, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest().startswith("2dda2560eb9b520b")
    assert TEMPLATES["vcsum"].endswith("会议记录：\n{context}\n\n会议总结：")  # noqa: RUF001
    assert TEMPLATES["lcc"] == (
        "Please complete the code given below. \n{context}Next line of code:\n"
    )


@pytest.mark.parametrize(
    ("name", "answers", "prediction", "expected"),
    [
        # 2 of 3 predicted words and 2 of 2 right ones: 2 * 2 / (3 + 2).
        ("hotpotqa", ["a red fox"], "The red fox, Jumps!", 4 / 5),
        ("qasper", ["no", "a red fox"], "The red fox, Jumps!", 4 / 5),  # the best answer
        ("musique", ["fox fox"], "fox", 2 / 3),  # bags: a word counts as often as it is there
        ("2wikimqa", ["Delft"], "", 0.0),
        ("narrativeqa", ["the"], "a", 0.0),  # articles do not count
        ("triviaqa", ["Delft"], "\n\nDelft\nQuestion: Where", 1.0),  # only the first line
        ("multifieldqa_en", ["Delft"], "Delft\nQuestion: Where", 1 / 2),  # 2 * 1 / (3 + 1)
        # The longest common subsequence is "cat sat", of 3 and 4 words: 2 * 2 / (3 + 4).
        ("gov_report", ["A cat sat down"], "the CAT sat.", 4 / 7),
        ("qmsum", ["sat cat"], "cat sat", 1 / 2),  # in order
        ("multi_news", ["cats"], "cat", 0.0),  # no stems
        ("samsum", ["Mia is late."], "Mia is late\nDialogue: Mia is late", 1.0),
        ("trec", ["Date"], "Type: Date", 1.0),
        ("trec", ["Date"], "Date or City", 1 / 2),
        ("trec", ["Date"], "City", 0.0),
        ("trec", ["Date"], "City\nDate", 0.0),
        ("trec", ["Other location"], "Other location", 1.0),  # "location" is a part of it
        ("lsht", ["location"], "Other location", 1 / 2),
        ("passage_count", ["12"], "12 or 13, perhaps 12", 2 / 3),
        ("passage_count", ["2"], "12", 0.0),
        ("passage_count", ["2"], "many", 0.0),
        ("passage_retrieval_en", ["Paragraph 7"], "7", 1.0),
        ("passage_retrieval_en", ["Paragraph 7"], "Paragraph 7 of 30", 1 / 2),
        ("passage_retrieval_zh", ["段落7"], "段落17", 0.0),
        # 9 of 11 and 10 characters match: 18 / 21 = 85.7 %, which is rounded.
        ("lcc", ["return x+1"], "\n# add\nreturn x +2\nprint(x)", 0.86),
        ("repobench-p", ["return x"], "```python\n// add", 0.0),
        # 我 来到 北京 清华大学 against 他 来到 清华大学: 2 * 2 / (4 + 3). ROUGE counts the stop.
        ("multifieldqa_zh", ["他来到清华大学"], "我来到北京清华大学。", 4 / 7),
        ("dureader", ["他来到清华大学"], "我来到北京清华大学。", 4 / 8),
        ("vcsum", ["清华大学来到"], "来到清华大学", 1 / 2),
    ],
)
def test_scores_are_those_by_hand(name, answers, prediction, expected):
    assert score(sample(name, *answers), prediction) == pytest.approx(expected)


@pytest.mark.parametrize("name", SETS)
def test_every_set_scores_a_right_answer_1_and_a_wrong_one_0(name):
    right = {"trec": "Date", "lsht": "City"}.get(name, ANSWERS.get(name, ["return 1"])[0])
    assert score(sample(name, right), right) == 1.0
    assert score(sample(name, right), "段0") == 0.0


@pytest.mark.parametrize(
    ("name", "library"),
    [("gov_report", "rouge_score"), ("multifieldqa_zh", "rjieba"), ("dureader", "rjieba")],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, f"{library}.rouge_scorer", None)
    longbench_metrics._rouge_scorer.cache_clear()
    named = library.replace("_", "-")
    with pytest.raises(ImportError, match=rf'{named}; pip install "marlserve\[text\]"'):
        score(sample(name, "answer"), "text")
    assert score(sample("qasper", "answer"), "answer") == 1.0
