"""How long one pass of an engine takes, by what is in it.

A timing gives the milliseconds of a pass from four numbers: `new` prompt tokens that it computes;
their `attention`, the sum over the prompts of new tokens x (tokens before them + half of the new
ones); the `sequences` that it decodes; and their `context`, the tokens that these attend to. In a
`Timing` the part of the prompts and the part of the decoding add up, and each is zero without work;
a `TableTiming` is measured on an engine that computes both in one go.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Timing:
    """Quadratic in the prompt tokens and in how full the cache is; in milliseconds.

        prompts   prefill_ms + per_new_ms new + per_new2_ms new^2 + per_attention_ms attention
        decoding  max(least_decode_ms, decode_ms + per_context_ms x + per_context2_ms x^2
                                       + per_sequence_ms sequences)
                  with x = min(context, full_context) / context_unit

    The defaults are the timing of NVIDIA Dynamo's mock engine (ai-dynamo 1.6.1, measured on a GPU
    and fitted there) with a cache of 2^20 tokens, in which x is the share of the cache in use.

    Raises:
        ValueError: for a value that is no number, or negative where it cannot be.
    """

    prefill_ms: float = 16.50142
    per_new_ms: float = 1.518344e-2
    per_new2_ms: float = 4.209989e-7
    per_attention_ms: float = 0.0
    least_decode_ms: float = 1.0
    decode_ms: float = 5.74
    per_context_ms: float = 54.01
    per_context2_ms: float = -25.74
    per_sequence_ms: float = 0.0
    full_context: float = 2.0**20
    context_unit: float = 2.0**20

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            least = -np.inf if field.name == "per_context2_ms" else 0.0
            most = np.inf if field.name == "full_context" else np.finfo(float).max
            if not least <= value <= most:
                raise ValueError(f"{field.name} is {value}; it must be from {least:g} to {most:g}")
        if not 0 < self.context_unit < np.inf:
            raise ValueError(f"context_unit is {self.context_unit}; it must be positive")

    @classmethod
    def of_cache(cls, num_tokens: int, **changes) -> "Timing":
        """The default timing on an engine whose cache holds so many tokens."""
        return cls(**{"full_context": num_tokens, "context_unit": num_tokens} | changes)

    @classmethod
    def linear(cls, prefill_ms=0.0, per_new_ms=0.0, decode_ms=0.0, per_context_ms=0.0) -> "Timing":
        """Linear in new tokens and in the tokens attended to; constant without the slopes."""
        return cls(
            *(prefill_ms, per_new_ms, 0.0, 0.0, 0.0, decode_ms, per_context_ms, 0.0, 0.0),
            *(np.inf, 1.0),
        )

    def row(self) -> np.ndarray:
        """The fields in their order, for the kernel, and that there is no table."""
        return np.array([*(getattr(self, field.name) for field in fields(self)), 0.0])


@dataclass(frozen=True)
class TableTiming:
    """Piecewise linear in the tokens of a pass, which an engine computes in one go: new ones of
    prompts, and one of each sequence that decodes. In milliseconds, as measured on an engine.

        table(new + sequences) + per_context_ms context + per_attention_ms attention

    Beyond the last point the table goes on as before it.

    Raises:
        ValueError: for tokens that do not rise, another number of times, negative numbers, and a
            last piece that falls.
    """

    tokens: tuple[float, ...]
    ms: tuple[float, ...]
    per_context_ms: float = 0.0
    per_attention_ms: float = 0.0

    def __post_init__(self):
        if len(self.tokens) != len(self.ms) or not self.tokens:
            raise ValueError(
                f"there are {len(self.tokens)} tokens and {len(self.ms)} ms; expected as many, "
                "one at least"
            )
        if not (np.diff(self.tokens, prepend=0.0) > 0).all() or np.isinf(self.tokens[-1]):
            raise ValueError(
                f"tokens are {self.tokens}; they must rise from above 0, and be finite"
            )
        for name in ("ms", "per_context_ms", "per_attention_ms"):
            value = np.asarray(getattr(self, name), float)
            if not (np.isfinite(value) & (value >= 0)).all():
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.ms[-1] < self.ms[-2:][0]:
            raise ValueError(
                f"ms are {self.ms}; they must not fall at last, where the table goes on"
            )

    @classmethod
    def read(cls, path: str | Path) -> "TableTiming":
        """What `replica_routing.py calibrate` wrote.

        Raises:
            ValueError: for a file that is not there, or is no such timing.
        """
        names = [field.name for field in fields(cls)]
        try:
            said = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(said, dict) or not set(said) <= set(names):
                raise ValueError(f"expected is an object of {names}")
            rows = {name: tuple(said[name]) for name in ("tokens", "ms")}
            return cls(**said | rows)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no timing of an engine: {error!r}") from error

    def row(self) -> np.ndarray:
        """For the kernel, in the places that a `Timing` has."""
        numbers = np.zeros(TABLE + 1)
        numbers[_ATTENTION], numbers[_CONTEXT] = self.per_attention_ms, self.per_context_ms
        numbers[TABLE] = len(self.tokens)
        return np.concatenate((numbers, self.tokens, self.ms))


# Places in a row: of two coefficients, and how many points a table has, which come after it.
_ATTENTION, _CONTEXT, TABLE = 3, 6, len(fields(Timing))


@njit(cache=True)
def in_table(timing, tokens):
    size = int(timing[TABLE])
    first, last = TABLE + 1, TABLE + size
    at = first
    while at < last and timing[at + 1] < tokens:
        at += 1
    at = min(at, max(last - 1, first))  # the piece that it is in, or the last one
    if size == 1 or tokens <= timing[first]:
        return timing[first + size]
    share = (tokens - timing[at]) / (timing[at + 1] - timing[at])
    return timing[at + size] + share * (timing[at + 1 + size] - timing[at + size])


@njit(cache=True)
def pass_ns(timing, slowness, new, attention, sequences, context):
    """The length of a pass by the row of its timing, each part in whole nanoseconds."""
    if timing[TABLE] > 0:
        ms = in_table(timing, new + sequences)
        ms += timing[_CONTEXT] * context + timing[_ATTENTION] * attention
        return np.int64(np.rint(ms * slowness * 1e6))
    total = np.int64(0)
    if new > 0:
        ms = timing[0] + timing[1] * new + timing[2] * new * new + timing[3] * attention
        total += np.int64(np.rint(ms * slowness * 1e6))
    if sequences > 0:
        x = min(float(context), timing[9]) / timing[10]
        ms = timing[5] + timing[6] * x + timing[7] * x * x + timing[8] * sequences
        total += np.int64(np.rint(max(timing[4], ms) * slowness * 1e6))
    return total
