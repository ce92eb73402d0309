"""What the scheduler of one of several clusters sees beside its own jobs.

    beside(measured.grid, shown_jobs)  # [..., V, 4 + 5 K] float32 in [0, 1]

Clusters are in the order of the actions: first its own, then those after it, and after the last one
come the first. Counts and times x are shown as x / (x + scale).
"""

from typing import NamedTuple

import numpy as np

_OWN = (
    "asked",  # whether it has to decide
    "kept",  # whether the cluster is kept for this job
    "from_elsewhere",  # whether the job was sent here
    "cluster",  # which one this is: its number over that of the last one
)
_EACH = (
    "may",  # whether this job may be started, or sent there
    "size",  # processors, of all clusters'
    "free",  # processors, of its own
    "queue",  # jobs that wait; scale 32
    "backlog",  # seconds for what runs, waits and comes from elsewhere; scale 20,000 s
)


class Grid(NamedTuple):
    """What a scheduler knows of all clusters, at one moment; leading axes as of `Measured`."""

    cluster: np.ndarray  # its number, [...]
    asked: np.ndarray  # whether it has to decide, [...]
    keeps: np.ndarray  # whether its cluster is kept for a job, [...]
    from_elsewhere: np.ndarray  # whether a job was sent here, [..., V]
    may: np.ndarray  # whether a job may be started or sent, [..., K, V]
    num_processors: np.ndarray  # from here on of each cluster, [..., K]
    free_processors: np.ndarray
    waiting_jobs: np.ndarray
    backlog_s: np.ndarray  # that all its processors take by the limits of its jobs


def features(num_clusters: int) -> tuple[str, ...]:
    """The names of what is seen, in order."""
    if num_clusters == 0:
        return ()
    return _OWN + tuple(f"{name}_{away}" for name in _EACH for away in range(num_clusters))


def beside(grid: Grid, shown_jobs: np.ndarray) -> np.ndarray:
    """What is seen by `features`; slots without a job are 0."""
    may = np.moveaxis(np.asarray(grid.may, float), -2, -1)  # [..., V, K]
    slots, clusters = may.shape[-2:]
    size, waiting, backlog_s = (
        np.asarray(x, float) for x in (grid.num_processors, grid.waiting_jobs, grid.backlog_s)
    )
    per_agent = (
        size / size.sum(axis=-1, keepdims=True),
        np.asarray(grid.free_processors) / size,
        waiting / (waiting + 32.0),
        backlog_s / (backlog_s + 20_000.0),
    )
    own = (
        np.repeat(np.asarray(grid.asked, float)[..., None], slots, axis=-1),
        np.asarray(grid.keeps, float)[..., None] * may[..., 0],
        np.asarray(grid.from_elsewhere, float),
        np.repeat(np.asarray(grid.cluster)[..., None] / max(clusters - 1, 1), slots, axis=-1),
    )
    columns = [np.stack(own, axis=-1), may]
    columns += [np.repeat(x[..., None, :], slots, axis=-2) for x in per_agent]
    waits = np.arange(slots) < np.asarray(shown_jobs)[..., None]
    return (np.concatenate(columns, axis=-1) * waits[..., None]).astype(np.float32)
