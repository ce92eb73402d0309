"""Long prompts with questions and right answers: files in the format of LongBench.

    samples = longbench.load("qasper.jsonl")       # a list of `Sample`
    samples[0].context, samples[0].input           # the long text, and what is asked about it

It is no trace, as it has no time. A file has a JSON object on each line, with these fields (others
are not read):

    context      the long text; may hold worked examples in the sets of group "few_shot"
    input        the question; empty where all of the context is asked for
    answers      list of right answers, at least one; the best one counts
    length       words of the context, or characters if it is Chinese
    dataset      one of the 21 sets in GROUPS
    language     "en", "zh", or that of the code
    all_classes  list of the classes of trec and lsht, null for the others
    _id          of the sample
    document     of the text, if samples share one that is longer than their contexts; optional

Reference: Bai et al.: LongBench: a bilingual, multitask benchmark for long context understanding,
ACL 2024, https://arxiv.org/abs/2308.14508. Files are in the data set THUDM/LongBench of the
Hugging Face hub.
"""

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

from marlserve.traces import recording

GROUPS = {
    "single_doc_qa": ("narrativeqa", "qasper", "multifieldqa_en", "multifieldqa_zh"),
    "multi_doc_qa": ("hotpotqa", "2wikimqa", "musique", "dureader"),
    "summarization": ("gov_report", "qmsum", "multi_news", "vcsum"),
    "few_shot": ("trec", "triviaqa", "samsum", "lsht"),
    "synthetic": ("passage_count", "passage_retrieval_en", "passage_retrieval_zh"),
    "code": ("lcc", "repobench-p"),
}

_SETS = [name for names in GROUPS.values() for name in names]
_FIELDS = ("context", "input", "answers", "length", "dataset", "language", "all_classes", "_id")
_HAS_CLASSES = ("trec", "lsht")
# What an answer must look like where it is a number.
_NUMBERED = {
    "passage_count": "[0-9]+",
    "passage_retrieval_en": "Paragraph [0-9]+",
    "passage_retrieval_zh": "段落[0-9]+",
}


@dataclass(frozen=True)
class Sample:
    """One line of a file; the fields are those of the format.

    Raises:
        ValueError: for a field of another type, an unknown set, no answers, answers without the
            number that it must have, and no classes where there must be some; it names the
            field, the value and what is expected.
    """

    dataset: str
    context: str
    input: str
    answers: tuple[str, ...]
    all_classes: tuple[str, ...]
    length: int
    language: str
    id: str
    document: str = ""

    def __post_init__(self):
        for name in ("dataset", "context", "input", "language", "id", "document"):
            self._expect(name, isinstance(getattr(self, name), str), "a text")
        self._expect("dataset", self.dataset in _SETS, f"one of {', '.join(_SETS)}")
        self._expect("context", bool(self.context), "a text that is not empty")
        length_is_good = type(self.length) is int and self.length >= 0
        self._expect("length", length_is_good, "a whole number, at least 0")
        self._expect("answers", _are_texts(self.answers) and self.answers, "texts, at least one")
        pattern = _NUMBERED.get(self.dataset, "(?s:.*)")
        matched = all(re.fullmatch(pattern, answer) for answer in self.answers)
        self._expect("answers", matched, f"texts that match {pattern!r}")
        self._expect("all_classes", _are_texts(self.all_classes), "texts, or null")
        if self.dataset in _HAS_CLASSES:
            self._expect("all_classes", self.all_classes, "texts, at least one")

    def _expect(self, name: str, good: object, expected: str) -> None:
        if not good:
            field, value = "_id" if name == "id" else name, getattr(self, name)
            raise ValueError(f"field {field} is {repr(value)[:80]}; expected {expected}")

    @property
    def group(self) -> str:
        """Which of GROUPS the set is in."""
        return next(group for group, names in GROUPS.items() if self.dataset in names)


def load(path: str | Path) -> list[Sample]:
    """The samples of a file, in its order; they may be of several sets.

    Raises:
        ValueError: for an empty file, and a line that is not a JSON object in UTF-8, lacks a field
            or has a bad one; it names file, line, field, value and what is expected. As
            `recording.read`.
        OSError: if the file cannot be read.
    """
    lines = enumerate(io.BytesIO(recording.read(path)), 1)
    samples = [_sample(line, f"{path}, line {number}") for number, line in lines]
    if not samples:
        raise ValueError(f"{path}: no lines; expected a JSON object on each")
    return samples


def _sample(line: bytes, where: str) -> Sample:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except ValueError:  # of either
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {line[:80]!r}; expected a JSON object in UTF-8")
    missing = [name for name in _FIELDS if name not in values]
    if missing:
        raise ValueError(f"{where}: no field {missing[0]}; expected {', '.join(_FIELDS)}")
    fields = {name.removeprefix("_"): values[name] for name in _FIELDS}
    fields["document"] = values.get("document", "")
    fields["all_classes"] = [] if fields["all_classes"] is None else fields["all_classes"]
    for name in ("answers", "all_classes"):
        if isinstance(fields[name], list):
            fields[name] = tuple(fields[name])
    try:
        return Sample(**fields)
    except ValueError as error:
        raise ValueError(f"{where}, {error}") from None


def _are_texts(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) for value in values)
