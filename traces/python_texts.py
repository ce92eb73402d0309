"""Long prompts in LongBench's shape, made of texts that every Python comes with.

    samples = python_texts.samples(seed=0)         # a list of `longbench.Sample`
    python_texts.write("prompts.jsonl", samples)   # a file for `longbench.load`

Sources, all under the licence of Python (PSF-2.0): the chapters of the language reference that
`help()` shows, the docstrings and the code of the standard library, and the names of characters in
its copy of the Unicode database (Unicode licence, V3). Another version of Python has other texts.

set, of LongBench      context                                 asked for
multifieldqa_en        paragraphs of documentation             the word that a sentence lacks
hotpotqa               lists of characters and their names     the names of two of them
gov_report             paragraphs of documentation             a summary; the answer is their first
trec                   what functions do, and their modules    the module of another one
passage_retrieval_en   30 sentences of documentation           which one is quoted
lcc                    lines of code                           the next line

Contexts have some 500 to 2,000 tokens; those of a set differ in length. Documents are dealt into
`SHELVES`, and each sample is made of one shelf alone, its `document`: problems split samples by
that, so that no text is both learned from and played.

Reference: Bai et al.: LongBench: a bilingual, multitask benchmark for long context understanding,
ACL 2024, https://arxiv.org/abs/2308.14508 (the sets whose shapes these are).
"""

import ast
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from marlserve.traces.longbench import Sample

SHELVES = 24
PER_SHELF = 12  # samples of each set
_CHARACTERS = (2_000, 7_600)  # of a context, some 4 in a token of English and 3 in one of code
_PACKAGES: tuple[str, ...] = (
    "asyncio",
    "collections",
    "concurrent/futures",
    "ctypes",
    "email",
    "html",
    "http",
)
_PACKAGES += ("importlib", "json", "logging", "multiprocessing", "sqlite3", "tkinter", "unittest")
_PACKAGES += ("urllib", "wsgiref", "xml/dom", "xml/etree", "xml/sax", "xmlrpc", "zoneinfo")
_NAMED = range(0x00A1, 0x3000)  # characters that have a name, most of them


@dataclass(frozen=True)
class Shelf:
    """The documents that a sample may be made of."""

    paragraphs: list[str]
    modules: dict[str, list[str]]  # what their functions do, in a sentence each
    code: list[list[str]]  # lines of files
    names: list[tuple[str, str]]  # characters, as "U+00E9", and their names


def samples(seed: int = 0) -> list[Sample]:
    """Samples of all sets from all shelves, in random order within a shelf."""
    rng, found = np.random.default_rng(seed), []
    for number, shelf in enumerate(_shelves(rng)):
        own = [
            _sample(dataset, number, i, make(shelf, rng))
            for dataset, make in MAKERS.items()
            for i in range(PER_SHELF)
        ]
        found += [own[i] for i in rng.permutation(len(own))]
    return found


def write(path: str | Path, found: list[Sample]) -> None:
    """A file in LongBench's format."""
    lines = []
    for sample in found:
        fields = asdict(sample)
        lines.append(json.dumps({"_id": fields.pop("id"), **fields}) + "\n")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(lines))


Made = tuple[str, str, str, tuple[str, ...]]  # context, input, answer, classes


def _sample(dataset: str, shelf: int, number: int, made: Made) -> Sample:
    context, asked, answer, classes = made
    return Sample(
        dataset=dataset,
        context=context,
        input=asked,
        answers=(answer,),
        all_classes=classes,
        length=len(context.split()),
        language="python" if dataset == "lcc" else "en",
        id=f"{dataset}-{shelf}-{number}",
        document=f"shelf {shelf}",
    )


def _missing_word(shelf: Shelf, rng: np.random.Generator) -> Made:
    while True:
        text = _stretch(shelf.paragraphs, rng)
        words = re.findall(r"\b[a-z]{6,}\b", text)
        rare = sorted({word for word in words if text.count(word) == 1})
        places = [s for s in _sentences(text) if any(word in s.split() for word in rare)]
        if places:
            sentence = str(rng.choice(places))
            word = str(rng.choice([word for word in rare if word in sentence.split()]))
            blank = re.sub(rf"\b{word}\b", "____", sentence)
            return text, f'Which word of the text is missing in "{blank}"?', word, ()


def _two_names(shelf: Shelf, rng: np.random.Generator) -> Made:
    count = int(rng.integers(30, 110))
    chosen = [shelf.names[i] for i in rng.permutation(len(shelf.names))[:count]]
    passages = np.array_split(np.arange(count), 3)
    text = "\n\n".join(
        f"Passage {i}:\n" + "\n".join(f"{chosen[k][0]} is {chosen[k][1]}." for k in part)
        for i, part in enumerate(passages, 1)
    )
    (one, first), (other, second) = (chosen[i] for i in rng.choice(count, 2, replace=False))
    return text, f"What are the names of {one} and {other}?", f"{first} and {second}", ()


def _summary(shelf: Shelf, rng: np.random.Generator) -> Made:
    first, _, rest = _stretch(shelf.paragraphs, rng).partition("\n\n")
    return rest, "", first, ()


def _module_of(shelf: Shelf, rng: np.random.Generator) -> Made:
    known = [(text, module) for module, texts in shelf.modules.items() for text in texts]
    order = [known[i] for i in rng.permutation(len(known))]
    (asked, answer), *shown = order[: int(rng.integers(25, 70))]
    lines = [f"Question: Which module does this? {text}\nType: {module}" for text, module in shown]
    question = f"Question: Which module does this? {asked}\nType:"
    return "\n".join(lines), question, answer, tuple(sorted(shelf.modules))


def _which_paragraph(shelf: Shelf, rng: np.random.Generator) -> Made:
    sentences = list(dict.fromkeys(_sentences("\n\n".join(shelf.paragraphs))))
    chosen = [sentences[i] for i in rng.permutation(len(sentences))[:30]]
    text = "\n\n".join(f"Paragraph {i}: {sentence}" for i, sentence in enumerate(chosen, 1))
    asked = int(rng.integers(30))
    words = chosen[asked].split()
    return text, " ".join(words[: max(6, len(words) // 2)]), f"Paragraph {asked + 1}", ()


def _next_line(shelf: Shelf, rng: np.random.Generator) -> Made:
    lines = shelf.code[rng.integers(len(shelf.code))]
    size = int(rng.integers(*_CHARACTERS)) * 3 // 4
    start = int(rng.integers(max(1, len(lines) // 2)))
    end, length = start, 0
    while end < len(lines) - 1 and length < size:
        length += len(lines[end]) + 1
        end += 1
    while not lines[end].strip() and end > start + 1:
        end -= 1
    return "\n".join(lines[start:end]) + "\n", "", lines[end], ()


MAKERS: dict[str, Callable[[Shelf, np.random.Generator], Made]] = {
    "multifieldqa_en": _missing_word,
    "hotpotqa": _two_names,
    "gov_report": _summary,
    "trec": _module_of,
    "passage_retrieval_en": _which_paragraph,
    "lcc": _next_line,
}


def _stretch(paragraphs: list[str], rng: np.random.Generator) -> str:
    """Consecutive paragraphs, two at least, of a random length."""
    size, start = int(rng.integers(*_CHARACTERS)), int(rng.integers(len(paragraphs)))
    text = paragraphs[start]
    for i in range(1, len(paragraphs)):
        if len(text) >= size and i > 1:
            break
        text += "\n\n" + paragraphs[(start + i) % len(paragraphs)]
    return text


def _sentences(text: str) -> list[str]:
    found = re.split(r"(?<=[a-z)][.])\s+(?=[A-Z])", text)
    return [x for x in (" ".join(x.split()) for x in found) if 60 <= len(x) <= 300]


def _shelves(rng: np.random.Generator) -> Iterator[Shelf]:
    chapters = [topics[name] for name in sorted(topics)]
    files = _files()
    chapters = [chapters[i] for i in rng.permutation(len(chapters))]
    files = [files[i] for i in rng.permutation(len(files))]
    named = [(f"U+{x:04X}", unicodedata.name(chr(x), "")) for x in _NAMED]
    named = [pair for pair in named if pair[1]]
    named = [named[i] for i in rng.permutation(len(named))]
    for i in range(SHELVES):
        own = files[i::SHELVES]
        documented = {module: texts for module, _, texts in own}
        prose = [*chapters[i::SHELVES], *("\n\n".join(texts) for texts in documented.values())]
        yield Shelf(
            [x for text in prose for x in _paragraphs(text)],
            {
                module: [_first(x) for x in texts if _first(x)]
                for module, texts in documented.items()
            },
            [code.splitlines() for _, code, _ in own],
            named[i::SHELVES],
        )


@cache
def _files() -> list[tuple[str, str, list[str]]]:
    """Public modules of the standard library with some dozen documented functions: name, code,
    docstrings."""
    root, found = Path(os.__file__).parent, []
    for path in sorted(
        [*root.glob("*.py"), *(x for p in _PACKAGES for x in root.glob(f"{p}/*.py"))]
    ):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if path.name.startswith("_") and path.name != "__init__.py":
            continue
        code = path.read_text(errors="replace")
        texts = _docstrings(code)
        if len([x for x in texts if _first(x)]) >= 12:
            found.append((module, code, texts))
    return found


def _docstrings(code: str) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = (ast.get_docstring(x) for x in ast.walk(ast.parse(code)) if isinstance(x, kinds))
    return [text for text in found if text]


def _first(text: str) -> str:
    """The first sentence of a docstring, if it is one line."""
    line = text.split("\n", 1)[0]
    return line if 20 <= len(line) <= 120 and line.endswith(".") else ""


def _paragraphs(text: str) -> list[str]:
    """Those that are prose."""
    found = (" ".join(x.split()) for x in re.split(r"\n\s*\n", text) if not x.startswith("    "))
    return [x for x in found if len(x) >= 80 and sum(map(str.isalpha, x)) > 0.7 * len(x)]
