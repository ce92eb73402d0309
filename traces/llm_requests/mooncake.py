"""JSON lines in the form of the Mooncake traces, read and written.

{"timestamp": 27482, "input_length": 955, "output_length": 52, "hash_ids": [46, 47]}
"""

import io
import json
import math
from pathlib import Path

import numpy as np

from marlserve.traces.llm_requests.requests import LLMRequests

FIELDS = ("timestamp", "input_length", "output_length", "hash_ids")


def parse(path: str | Path, text: bytes, block_tokens: int) -> LLMRequests:
    """The requests in the `text` of the file at `path`; options and errors as of the package."""
    if not (isinstance(block_tokens, int) and block_tokens >= 1):
        raise ValueError(f"block_tokens is {block_tokens!r}; expected a whole number, at least 1")
    time_ms: list[float] = []
    prompt_tokens: list[int] = []
    output_tokens: list[int] = []
    ids: list[int] = []
    counts: list[int] = []
    for number, line in enumerate(io.BytesIO(text), 1):
        row = _Row(f"{path}, line {number}", line)
        time_ms.append(row.time_ms(time_ms[-1] if time_ms else 0.0))
        prompt_tokens.append(row.whole("input_length", 1))
        output_tokens.append(row.whole("output_length", 0))
        of_prompt = row.ids(-(-prompt_tokens[-1] // block_tokens), block_tokens)
        ids.extend(of_prompt)
        counts.append(len(of_prompt))
    time_s = np.array(time_ms, np.float64) / 1e3
    columns = {
        "time_s": time_s,
        "prompt_tokens": np.array(prompt_tokens, np.int64),
        "output_tokens": np.array(output_tokens, np.int64),
        "session": np.full(len(time_s), -1),
    }
    end_s, starts = float(np.nextafter(time_s[-1], np.inf)), np.cumsum([0, *counts])
    return LLMRequests(
        columns, end_s, float(time_s[0]), np.array(ids, np.int64), starts, block_tokens
    )


def save(trace: LLMRequests, path: str | Path) -> None:
    """Write a file that `load` and others read. Times are in milliseconds, to the nanosecond.

    Sessions are not written, as the form has none. Prompts of which nothing is known get ids that
    no other has, in blocks of `trace.block_tokens`, which a reader has to be told if it is not 512.

    Raises:
        OSError: if it cannot be written.
    """
    due = -(-trace["prompt_tokens"] // trace.block_tokens)
    fresh = int(trace.block_ids.max(initial=-1)) + 1
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for row, count in enumerate(due.tolist()):
            first, last = trace.block_starts[row : row + 2]
            ids = trace.block_ids[first:last].tolist()
            if not ids:
                ids, fresh = list(range(fresh, fresh + count)), fresh + count
            time_ms = round(float(trace.time_s[row]) * 1e3, 6)
            values = {
                "timestamp": int(time_ms) if time_ms.is_integer() else time_ms,
                "input_length": int(trace["prompt_tokens"][row]),
                "output_length": int(trace["output_tokens"][row]),
                "hash_ids": ids,
            }
            file.write(json.dumps(values) + "\n")


class _Row:
    """A line; `where` is that of errors."""

    def __init__(self, where: str, line: bytes):
        self._where = where
        try:
            self._values = json.loads(line.decode("utf-8-sig"))
        except ValueError:  # of either
            self._values = None
        if not isinstance(self._values, dict):
            raise ValueError(f"{where}: {line[:80]!r}; expected a JSON object in UTF-8")
        for name in FIELDS:
            if name not in self._values and (
                name != "timestamp" or "timestamp_ms" not in self._values
            ):
                raise ValueError(f"{where}: no field {name}; expected {', '.join(FIELDS)}")

    def time_ms(self, least: float) -> float:
        name = "timestamp" if "timestamp" in self._values else "timestamp_ms"
        value = self._values[name]
        good = type(value) in (int, float) and math.isfinite(value) and value >= least
        self._expect(name, good, "milliseconds, none before those of the line above or 0")
        return value

    def whole(self, name: str, least: int) -> int:
        value = self._values[name]
        good = type(value) is int and least <= value < 2**63
        self._expect(name, good, f"a whole number, at least {least}")
        return value

    def ids(self, count: int, block_tokens: int) -> list[int]:
        """The first `count`, which are those of the prompt."""
        ids = self._values["hash_ids"]
        good = isinstance(ids, list) and all(type(i) is int and 0 <= i < 2**63 for i in ids)
        self._expect("hash_ids", good, "a list of whole numbers, at least 0")
        length = self._values["input_length"]
        expected = f"{count} or more, of {block_tokens} tokens each, for input_length {length}"
        self._expect("hash_ids", len(ids) >= count, expected)
        return ids[:count]

    def _expect(self, name: str, good: bool, expected: str) -> None:
        if not good:
            value = repr(self._values[name])[:80]
            raise ValueError(f"{self._where}, field {name}: {value}; expected {expected}")
