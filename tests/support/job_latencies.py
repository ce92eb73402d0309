"""The latency of every job of a cluster, by its number, from the logs of completions."""

from collections.abc import Iterable

import numpy as np

from marlserve.envs.sims.cluster import Cluster


def note(cluster: Cluster, latency_s: np.ndarray) -> None:
    """Write what completed during the last `advance` into latency_s [B, J], where NaN is due."""
    lengths, log = cluster.completions()
    for copy, length in enumerate(lengths):
        done = log[copy, :length]
        assert np.isnan(latency_s[copy, done["number"]]).all(), "nobody completes twice"
        latency_s[copy, done["number"]] = done["value_s"]


def played(
    cluster: Cluster, weights: np.ndarray, times_s: Iterable[float], num_jobs: int
) -> np.ndarray:
    """Advance to each of the times, with these weights [B, K, M]: latencies [B, J] in seconds.

    NaN: not complete.
    """
    latency_s = np.full((cluster.shape[0], num_jobs), np.nan)
    for until_s in times_s:
        cluster.advance(weights, until_s)
        note(cluster, latency_s)
    return latency_s
