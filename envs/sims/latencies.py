"""Latencies of completed jobs: their mean, and percentiles that are exact but for rounding.

Memory grows with the jobs that completed, by four bytes each: there is no other way to exact
percentiles.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit


class Latencies:
    """Latencies of B copies; `count` [B] says of how many jobs.

    Args:
        num_envs: B.
    """

    def __init__(self, num_envs: int):
        self.count = np.zeros(num_envs, np.int64)
        self._total_s = np.zeros(num_envs)
        self._values_s = np.zeros((num_envs, 256), np.float32)

    def reset(self, copies: np.ndarray) -> None:
        """Forget those of the copies with these indices."""
        self.count[copies] = 0
        self._total_s[copies] = 0.0

    def add(self, lengths: np.ndarray, log: np.ndarray, first: np.ndarray) -> None:
        """Add the first lengths[b] records of log[b] (dtype `cluster_arrays.LOG`).

        Jobs with a number below first[b] are left out.
        """
        width, needed = self._values_s.shape[1], int((self.count + lengths).max())
        if needed > width:
            more = max(2 * width, needed) - width
            self._values_s = np.pad(self._values_s, [(0, 0), (0, more)])
        _add(lengths, log, first, self._values_s, self.count, self._total_s)

    def summary_s(self, percents: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Means [B] and percentiles [B, P], with linear interpolation; 0 without any job."""
        percentiles = np.zeros((len(self.count), len(percents)))
        for copy, count in enumerate(self.count):
            if count:
                values_s = self._values_s[copy, :count].astype(float)
                percentiles[copy] = np.percentile(values_s, percents)
        return self._total_s / np.maximum(self.count, 1), percentiles


@njit(cache=True)
def _add(lengths, log, first, values_s, count, total_s):
    for b in range(len(lengths)):
        for i in range(lengths[b]):
            if log[b, i].number >= first[b]:
                values_s[b, count[b]] = log[b, i].value_s
                count[b] += 1
                total_s[b] += log[b, i].value_s
