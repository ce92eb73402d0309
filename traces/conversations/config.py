"""What conversations are like: `Config`."""

from dataclasses import dataclass

import numpy as np

from marlserve.traces import utc
from marlserve.traces.conversations.lengths import Lengths


@dataclass(frozen=True)
class Config:
    """Sessions of one service.

    Args:
        rate_per_s: requests in a second, in the long run.
        mean_turns: requests of a session; their number is geometric.
        gap_median_s, gap_sigma: from one request of a session to the next, through its answer and
            what happens until there is more to say: log-normal.
        first_tokens: what a session begins with, after the system prompt.
        next_tokens: what later turns add to the prompt and the answer before.
        output_tokens: of an answer.
        context_tokens: the longest prompt. Where a turn would need more, the service drops the
            oldest text after the system prompt, so that the prompt has this length, and nothing
            but the system prompt in common with those before.
        applications: that share the service; each has a system prompt of its own.
        popularity: the application of rank k has sessions in proportion to k ** -popularity.
        system_tokens: of a system prompt, rounded up to whole blocks. The applications are the
            same for every seed: their lengths are spread evenly over the law.
        block_tokens: of a block, as of "llm_requests".
        burst_factor, burst_share, mean_burst_s: of the times when sessions begin, as of "bursts".
        start: a time in UTC, if the rate is to follow the hours of the day and the week, as in
            "invocations"; the clock is then that of Unix. Empty: the same at all hours, from 0 on.

    Raises:
        ValueError: for a value that makes no sense, naming it and what is allowed.
    """

    rate_per_s: float
    mean_turns: float
    gap_median_s: float
    gap_sigma: float
    first_tokens: Lengths
    next_tokens: Lengths
    output_tokens: Lengths
    context_tokens: int
    applications: int
    popularity: float
    system_tokens: Lengths
    block_tokens: int
    burst_factor: float
    burst_share: float
    mean_burst_s: float
    start: str = ""

    def __post_init__(self):
        for name in ("rate_per_s", "gap_median_s"):
            self._expect(name, 0.0 < getattr(self, name) < np.inf, "a positive number")
        for name in ("gap_sigma", "popularity"):
            self._expect(name, 0.0 <= getattr(self, name) < np.inf, "a number, at least 0")
        self._expect("mean_turns", 1.0 <= self.mean_turns < np.inf, "a number, at least 1")
        for name in ("applications", "block_tokens"):
            value = getattr(self, name)
            self._expect(name, isinstance(value, int) and value >= 1, "a whole number, at least 1")
        longest = self.system_tokens.most + self.block_tokens
        expected = f"more than a block above the longest system prompt, {longest}"
        self._expect("context_tokens", self.context_tokens > longest, expected)
        if self.start:
            utc.epoch_s("start", self.start)

    def _expect(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(f"{name} is {getattr(self, name)!r}; expected {expected}")
