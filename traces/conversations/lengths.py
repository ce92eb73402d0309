"""How long texts are, in tokens: a law that is given by some of its quantiles."""

from dataclasses import astuple, dataclass

import numpy as np

_LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Lengths:
    """Tokens at these levels, of which the first and the last are the least and the most.

    Between two levels, the logarithm is linear in the level: so laws with several peaks, which
    recordings have and a log-normal law lacks, have the percentiles that they are given.

    Raises:
        ValueError: if they are not in order, or the least is below 1.
    """

    least: int
    p10: int
    p25: int
    p50: int
    p75: int
    p90: int
    p95: int
    p99: int
    most: int

    def __post_init__(self):
        tokens = astuple(self)
        if tokens[0] < 1 or sorted(tokens) != list(tokens):
            raise ValueError(f"tokens are {tokens}; expected at least 1, and none below the last")

    def at(self, level: np.ndarray) -> np.ndarray:
        """Quantiles at levels of 0 to 1, any shape, int64."""
        logs = np.interp(level, _LEVELS, np.log(astuple(self)))
        return np.rint(np.exp(logs)).astype(np.int64)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Independent draws, [count] int64."""
        return self.at(rng.random(count))
