"""The requests of a trace, and the blocks of their prompts, which `LLMRequests` keeps together."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from marlserve.traces.base import Trace, earlier_than
from marlserve.traces.llm_requests import chains

COLUMNS = ("time_s", "prompt_tokens", "output_tokens", "session")
_LEAST = {"prompt_tokens": 0, "output_tokens": 0, "session": -1}


@dataclass(frozen=True, eq=False, repr=False)
class LLMRequests(Trace):
    """A trace [n] of COLUMNS, with the blocks of the prompts, as the package says. All read-only.

    Args:
        columns: by name.
        end_s: where the covered time ends.
        start_s: where it starts.
        block_ids: int64, [blocks]; left out with `block_starts` where nothing is known of prompts.
        block_starts: int64, [n + 1], from 0 to the number of blocks.
        block_tokens: of a block.

    Raises:
        ValueError: as `Trace`; for a missing column, tokens and sessions that are not whole numbers
            of at least 0 and -1, for blocks that are not those of the prompts' tokens, and for
            `block_tokens` below 1; it names column, row and value.
    """

    block_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    block_starts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    block_tokens: int = 512

    def __post_init__(self):
        super().__post_init__()
        starts = self.block_starts if len(self.block_starts) else np.zeros(len(self) + 1, np.int64)
        for name, values in {"block_ids": self.block_ids, "block_starts": starts}.items():
            object.__setattr__(self, name, _read_only(np.asarray(values, np.int64)))
        self._check_blocks()

    def _check(self) -> None:
        if missing := [name for name in COLUMNS if name not in self.columns]:
            raise ValueError(f"columns are {list(self.columns)}; expected {missing[0]} too")
        super()._check()
        for name, least in _LEAST.items():
            column = self[name]
            if not np.issubdtype(column.dtype, np.integer):
                raise ValueError(f"column {name} is of {column.dtype}; expected whole numbers")
            if (column < least).any():
                row = int(np.argmin(column))
                raise ValueError(f"column {name}, row {row}: {column[row]}; expected >= {least}")

    def _check_blocks(self) -> None:
        if not (isinstance(self.block_tokens, int) and self.block_tokens >= 1):
            raise ValueError(f"block_tokens is {self.block_tokens!r}; expected a whole number >= 1")
        starts, blocks = self.block_starts, len(self.block_ids)
        if starts.shape != (len(self) + 1,) or starts[0] != 0 or starts[-1] != blocks:
            raise ValueError(
                f"block_starts is {starts.shape}, from {starts[0]} to {starts[-1]}; expected "
                f"[{len(self) + 1}], from 0 to {blocks}, the number of block_ids"
            )
        found, due = np.diff(starts), -(-self["prompt_tokens"] // self.block_tokens)
        if not (good := (found == due) | (found == 0)).all():
            row = int(np.argmin(good))
            raise ValueError(
                f"row {row} has {found[row]} blocks of {self.block_tokens} tokens and "
                f"{self['prompt_tokens'][row]} prompt_tokens; expected {due[row]} blocks, or none"
            )

    def __repr__(self) -> str:
        blocks = f"{len(self.block_ids)} blocks of {self.block_tokens} tokens"
        return f"LLMRequests({len(self)} rows, {blocks}, [{self.start_s}, {self.end_s}) s)"

    def __reduce__(self):
        blocks = (self.block_ids, self.block_starts, self.block_tokens)
        arguments = (dict(self.columns), self.end_s, self.start_s, *blocks)
        return LLMRequests, arguments, self.__dict__.get("chain_nodes")

    def __setstate__(self, nodes: np.ndarray) -> None:
        self.__dict__["chain_nodes"] = _read_only(nodes)  # of a part, they are not its own

    @cached_property
    def chain_nodes(self) -> np.ndarray:
        """[blocks] int64: see the package. `between`, `rows` and `split` keep the numbers, so that
        the steps of a trace agree; those of a `window` are its own, 0 to the number of nodes."""
        return _read_only(chains.nodes(self.block_ids, self.block_starts))

    @property
    def max_tokens(self) -> int:
        """Of the longest request, prompt and output."""
        return int((self["prompt_tokens"] + self["output_tokens"]).max())

    def prefix_hit_tokens(self, engine_block_tokens: int = 1) -> np.ndarray:
        """Tokens of each prompt, [n] int64, that some earlier row of this trace has too.

        So many does a cache find that is one for all, never full, and holds a prompt as soon as
        its request comes: an upper bound. Answers are in it only where they are in later prompts.

        Args:
            engine_block_tokens: whole blocks of so many are found, and the last token never is, as
                in vLLM.

        Raises:
            ValueError: if `engine_block_tokens` is below 1.
        """
        if engine_block_tokens < 1:
            raise ValueError(f"engine_block_tokens is {engine_block_tokens}; expected at least 1")
        prompt_tokens = self["prompt_tokens"]
        seen = chains.seen_tokens(
            self.chain_nodes, self.block_starts, prompt_tokens, self.block_tokens
        )
        others = np.maximum(prompt_tokens - 1, 0)
        return np.minimum(seen, others) // engine_block_tokens * engine_block_tokens

    def prefix_hit_share(self, engine_block_tokens: int = 1) -> float:
        """`prefix_hit_tokens` over all prompt tokens; 0 where there are none."""
        hit_tokens = self.prefix_hit_tokens(engine_block_tokens).sum()
        return float(hit_tokens / max(int(self["prompt_tokens"].sum()), 1))

    def between(self, start_s: float, end_s: float) -> "LLMRequests":
        """As `Trace.between`; a copy is made of `block_starts`."""
        return self._part(super().between(start_s, end_s), *self._found(start_s, end_s))

    def rows(self, start: int, stop: int) -> "LLMRequests":
        """Rows start to stop, as of a slice; they cover the time from the first of them to an
        instant after the last, or the ends of the trace where they reach those.

        Raises:
            ValueError: if they are not 0 <= start < stop <= n.
        """
        if not 0 <= start < stop <= len(self):
            raise ValueError(f"rows {start} to {stop}; expected 0 <= start < stop <= {len(self)}")
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        start_s = float(self.time_s[start]) if start else self.start_s
        last_s = float(np.nextafter(self.time_s[stop - 1], np.inf))
        end_s = last_s if stop < len(self) else self.end_s
        return self._part(Trace(columns, end_s, start_s), start, stop)

    def split(self, share: float) -> tuple["LLMRequests", "LLMRequests"]:
        """The first `share` of the covered time, and the rest; prompts of both may have the same
        prefixes.

        Raises:
            ValueError: if the share is not between 0 and 1.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share is {share}; expected 0 to 1")
        middle_s = min(self.start_s + share * self.duration_s, self.end_s)
        return self.between(self.start_s, middle_s), self.between(middle_s, self.end_s)

    def sped_up(self, arrival_speedup: float) -> "LLMRequests":
        """The same requests, with gaps that are so many times shorter; the start stays.

        Raises:
            ValueError: if the speed-up is not positive.
        """
        if not 0.0 < arrival_speedup < np.inf:
            raise ValueError(f"arrival_speedup is {arrival_speedup}; expected a positive number")
        end_s = float(np.nextafter(self.start_s + self.duration_s / arrival_speedup, np.inf))
        time_s = self.start_s + (self.time_s - self.start_s) / arrival_speedup
        columns = {**self.columns, "time_s": earlier_than(end_s, time_s)}
        return self._part(Trace(columns, end_s, self.start_s), 0, len(self))

    def at_rate(self, rate_per_s: float) -> "LLMRequests":
        """As `Trace.at_rate`."""
        return self._part(super().at_rate(rate_per_s), 0, len(self))

    def scaled(self, name: str, factor: float) -> "LLMRequests":
        """As `Trace.scaled`; tokens must stay whole numbers, and prompts fit their blocks."""
        columns = super().scaled(name, factor).columns
        blocks = (self.block_ids, self.block_starts, self.block_tokens)
        rows = LLMRequests(columns, self.end_s, self.start_s, *blocks)
        return self._part(rows, 0, len(self))

    def _rebased(self, start_s: float, end_s: float, duration_s: float) -> "LLMRequests":
        rows = super()._rebased(start_s, end_s, duration_s)
        window = self._part(rows, *self._found(start_s, end_s))
        del window.__dict__["chain_nodes"]
        return window

    def _found(self, start_s: float, end_s: float) -> tuple[int, int]:
        first, last = np.searchsorted(self.time_s, (start_s, end_s))
        return int(first), int(last)

    def _part(self, rows: Trace, first: int, last: int) -> "LLMRequests":
        """These rows, known to be good, with the blocks of rows first to last of this trace."""
        starts = self.block_starts[first : last + 1]
        blocks = slice(int(starts[0]), int(starts[-1]))
        part: LLMRequests = object.__new__(LLMRequests)
        part.__dict__.update(
            rows.__dict__,
            block_ids=self.block_ids[blocks],
            block_starts=_read_only(starts - starts[0]),
            block_tokens=self.block_tokens,
            chain_nodes=self.chain_nodes[blocks],
        )
        return part


def _read_only(values: np.ndarray) -> np.ndarray:
    view = values.view()
    view.flags.writeable = False
    return view
