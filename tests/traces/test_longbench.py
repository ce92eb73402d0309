"""LongBench: reading files of its format."""

import gzip
import json

import pytest

from marlserve.traces import longbench
from marlserve.traces.longbench import GROUPS, Sample

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
    packed = write(utf8, trec, QASPER).with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(packed.with_suffix("").read_bytes()))
    assert longbench.load(packed) == [first, second, third]


def test_the_benchmark_has_21_sets():
    sets = [name for names in GROUPS.values() for name in names]
    assert len(sets) == len(set(sets)) == len(GROUPS) + 15 == 21


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
