"""LongBench: reading files of its format, its prompts, and its metrics against values by hand."""

import hashlib
import json
import sys

import pytest

from marlserve.traces import longbench, longbench_metrics
from marlserve.traces.longbench import GROUPS, Sample
from marlserve.traces.longbench_metrics import METRICS
from marlserve.traces.longbench_templates import MAX_ANSWER_TOKENS, TEMPLATES

SETS = [name for names in GROUPS.values() for name in names]
# What a set asks of its samples; the other fields are free.
ANSWERS = {
    "passage_count": ["12"],
    "passage_retrieval_en": ["Paragraph 7"],
    "passage_retrieval_zh": ["段落7"],
}
QASPER = {
    "input": "Which {context} did they train?",
    "context": 'A "paper" with\u2028braces {input} and {other}.',
    "answers": ["A small one", "unanswerable"],
    "length": 5,
    "dataset": "qasper",
    "language": "en",
    "all_classes": None,
    "_id": "0f1e",
}
CLASSES = ["Date", "Other location", "location", "City"]


@pytest.fixture
def write(tmp_path):
    def write(*objects: object):
        path = tmp_path / "file.jsonl"
        lines = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in objects]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


def sample(dataset: str, *answers: str) -> Sample:
    classes = tuple(CLASSES) if dataset in ("trec", "lsht") else ()
    return Sample(dataset, "text", "question", answers, classes, 1, "en", "0")


def test_a_file_is_read(write):
    trec = QASPER | {"dataset": "trec", "all_classes": CLASSES, "answers": ["Date"], "more": 1}
    utf8 = json.dumps(QASPER | {"context": "段落"}, ensure_ascii=False).encode("utf-8-sig")
    first, second, third = longbench.load(write(utf8, trec, QASPER))
    assert third == Sample(
        "qasper", QASPER["context"], QASPER["input"], ("A small one", "unanswerable"), (), 5, "en",
        "0f1e",
    )  # fmt: skip
    assert first.context == "段落"
    assert (second.group, second.all_classes) == ("few_shot", tuple(CLASSES))
    assert len({first, second, third}) == 3  # they can be counted and compared


@pytest.mark.parametrize("name", SETS)
def test_the_parts_of_a_prompt_join_to_the_template(write, name):
    values = QASPER | {"dataset": name, "answers": ANSWERS.get(name, ["x"]), "all_classes": ["x"]}
    (read,) = longbench.load(write(values))
    filled = TEMPLATES[name].format(context=QASPER["context"], input=QASPER["input"])
    assert read.context_text + read.question_text == read.prompt == filled
    assert read.context_text.endswith(QASPER["context"])
    assert (QASPER["input"] in read.question_text) == ("{input}" in TEMPLATES[name])
    assert name in GROUPS[read.group]
    assert read.max_answer_tokens == MAX_ANSWER_TOKENS[name] in (32, 64, 128, 512)


def test_the_benchmark_has_21_sets_with_these_templates():
    assert len(SETS) == len(GROUPS) + 15 == 21
    assert set(SETS) == set(TEMPLATES) == set(MAX_ANSWER_TOKENS) == set(METRICS)
    # Of the file dataset2prompt.json; a blank more or less is another benchmark.
    text = json.dumps(TEMPLATES, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest().startswith("2dda2560eb9b520b")
    assert TEMPLATES["vcsum"].endswith("会议记录：\n{context}\n\n会议总结：")  # noqa: RUF001
    assert TEMPLATES["lcc"] == (
        "Please complete the code given below. \n{context}Next line of code:\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"answers": "A small one"},
            "field answers is 'A small one'; expected texts, at least one",
        ),
        ({"answers": []}, r"field answers is \(\); expected texts, at least one"),
        ({"answers": ["yes", 3]}, r"field answers is \('yes', 3\); expected texts"),
        ({"all_classes": "Date"}, "field all_classes is 'Date'; expected texts, or null"),
        ({"context": None}, "field context is None; expected a text"),
        ({"context": ""}, "field context is ''; expected a text that is not empty"),
        ({"input": 5}, "field input is 5; expected a text"),
        ({"language": None}, "field language is None; expected a text"),
        ({"_id": 7}, "field _id is 7; expected a text"),
        ({"length": -1}, "field length is -1; expected a whole number, at least 0"),
        ({"length": True}, "field length is True; expected a whole number"),
        ({"length": "5"}, "field length is '5'; expected a whole number"),
        ({"dataset": "squad"}, "field dataset is 'squad'; expected one of narrativeqa, qasper"),
        ({"dataset": "trec"}, r"field all_classes is \(\); expected texts, at least one"),
        ({"dataset": "passage_count"}, "field answers is .*; expected texts that match '.0-9.*'"),
        (
            {"dataset": "passage_retrieval_en", "answers": ["7"]},
            "field answers is .*; expected .* match 'Para",
        ),
        (
            {"dataset": "passage_retrieval_zh", "answers": ["Paragraph 7"]},
            "field answers .*match '段落",
        ),
    ],
)
def test_a_bad_field_is_named_with_its_line_and_file(write, change, message):
    path = write(QASPER, QASPER | change)
    with pytest.raises(ValueError, match=f"line 2, {message}") as error:
        longbench.load(path)
    assert str(error.value).startswith(f"{path}, ")


@pytest.mark.parametrize("field", QASPER)
def test_a_missing_field_is_named(write, field):
    path = write({name: value for name, value in QASPER.items() if name != field})
    with pytest.raises(ValueError, match=f"file.jsonl, line 1: no field {field}; expected context"):
        longbench.load(path)


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b'{"input": "\xff"}'])
def test_a_line_that_is_no_object_is_an_error(write, line):
    with pytest.raises(
        ValueError, match="file.jsonl, line 2: b.*; expected a JSON object in UTF-8"
    ):
        longbench.load(write(QASPER, line))


def test_empty_and_missing_files_are_errors(write, tmp_path):
    with pytest.raises(ValueError, match="file.jsonl: no lines; expected"):
        longbench.load(write())
    with pytest.raises(FileNotFoundError):
        longbench.load(tmp_path / "none.jsonl")


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
    assert longbench.score(sample(name, *answers), prediction) == pytest.approx(expected)


@pytest.mark.parametrize("name", SETS)
def test_every_set_scores_a_right_answer_1_and_a_wrong_one_0(name):
    right = {"trec": "Date", "lsht": "City"}.get(name, ANSWERS.get(name, ["return 1"])[0])
    assert longbench.score(sample(name, right), right) == 1.0
    assert longbench.score(sample(name, right), "段0") == 0.0


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
        longbench.score(sample(name, "answer"), "text")
    assert longbench.score(sample("qasper", "answer"), "answer") == 1.0
