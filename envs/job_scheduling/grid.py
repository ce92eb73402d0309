"""What the scheduler of one of several clusters sees: one row for each action.

    by_action(seen, measured.grid, ...)  # [..., K V, F + 18] float32 in [0, 1]

Row d V + v is of the job in slot v and of the cluster d further than its own, as the actions are:
what is seen of the job, [..., V, F], and `FEATURES` of how it would be there. So one small network
can weigh all of them alike, for any number of clusters. Estimates are those that rules send jobs
by, see `sooner_s`. Counts and times x are shown as x / (x + scale); what may be negative, as
(1 + x / (|x| + scale)) / 2.
"""

from typing import NamedTuple

import numpy as np

FEATURES = (
    "asked",  # whether it has to decide
    "kept",  # whether its cluster is kept for this job
    "from_elsewhere",  # whether the job was sent here
    "order",  # share of the slots whose jobs are less work: seconds times processors
    "cluster",  # which one the scheduler's is: its number over that of the last one
    "goes",  # 0 in rows of its own cluster; from here on of the row's
    "may",  # whether the job may be started, or sent there
    "cluster_size",  # processors, of all clusters'
    "cluster_free",  # processors, of its own
    "cluster_queue",  # jobs that wait; scale 32
    "cluster_backlog",  # seconds for what runs, waits and comes from elsewhere; scale 20,000 s
    "at_once",  # whether the job could start at once, by estimate
    "sooner_60",  # seconds that it would start sooner than here, by estimate; scale 60 s
    "sooner_1200",
    "sooner_20000",
    "slowdown",  # the same over what it may run, at least 10 s; scale 1
    "later_600",  # seconds that it would start later than where it would first; scale 600 s
    "later_20000",
)


class Grid(NamedTuple):
    """What a scheduler knows of all clusters, at one moment; leading axes as of `Measured`."""

    cluster: np.ndarray  # its number, [...]
    asked: np.ndarray  # whether it has to decide, [...]
    keeps: np.ndarray  # whether its cluster is kept for a job, [...]
    from_elsewhere: np.ndarray  # whether a job was sent here, [..., V]
    may: np.ndarray  # whether a job may be started or sent, [..., K, V]
    num_processors: np.ndarray  # from here on of each cluster, its own first, [..., K]
    free_processors: np.ndarray
    waiting_jobs: np.ndarray
    backlog_s: np.ndarray  # that all its processors take by the limits of its jobs


def features(num_clusters: int) -> tuple[str, ...]:
    """The names of what is seen of the row's cluster, in order; of a lone one nothing."""
    return FEATURES if num_clusters else ()


def at_once(grid: Grid, processors: np.ndarray) -> np.ndarray:
    """Whether jobs [..., V] could start now in a cluster, as no other waits there, [..., K, V]."""
    alone = grid.waiting_jobs == 0
    alone[..., 0] = (grid.waiting_jobs[..., 0] == 1) & ~grid.keeps  # the job itself
    return alone[..., None] & (processors[..., None, :] <= grid.free_processors[..., None])


def sooner_s(
    grid: Grid, processors: np.ndarray, requested_s: np.ndarray, transfer_s: float
) -> np.ndarray:
    """By how many seconds sooner than here jobs [..., V] would start in a cluster, [..., K, V].

    By estimate a job that cannot start at once waits for the backlog, of which in its own cluster
    it is a part; elsewhere it takes transfer_s in addition.
    """
    waits_s = np.repeat(grid.backlog_s[..., None], processors.shape[-1], axis=-1)
    waits_s[..., 0, :] -= requested_s * processors / grid.num_processors[..., :1]
    waits_s = np.where(at_once(grid, processors), 0.0, waits_s)
    sooner = waits_s[..., :1, :] - waits_s - transfer_s
    sooner[..., 0, :] = 0.0
    return sooner


def by_action(
    seen: np.ndarray,
    grid: Grid,
    shown_jobs: np.ndarray,
    processors: np.ndarray,
    requested_s: np.ndarray,
    transfer_s: float,
) -> np.ndarray:
    """What is seen, in one row for each action; slots without a job are 0.

    Args:
        seen: of the jobs, [..., V, F].
        shown_jobs, processors, requested_s: of `Measured`.
        transfer_s: until a job that is sent is there.
    """
    *leading, clusters, slots = np.shape(grid.may)
    rows = np.zeros((*leading, clusters, slots, seen.shape[-1] + len(FEATURES)), np.float32)
    rows[..., : seen.shape[-1]] = seen[..., None, :, :]
    waits = np.arange(slots) < np.asarray(shown_jobs)[..., None]  # [..., V]
    for name, values in _columns(grid, waits, processors, requested_s, transfer_s).items():
        column = seen.shape[-1] + FEATURES.index(name)
        rows[..., column] = np.where(waits[..., None, :], values, 0.0)
    return rows.reshape(*leading, clusters * slots, -1)


def _columns(
    grid: Grid,
    waits: np.ndarray,
    processors: np.ndarray,
    requested_s: np.ndarray,
    transfer_s: float,
) -> dict[str, np.ndarray]:
    """By FEATURES, what broadcasts to [..., K, V]."""
    clusters, slots = grid.may.shape[-2:]
    work = np.where(waits, requested_s * processors, np.inf)
    sooner = sooner_s(grid, processors, requested_s, transfer_s)
    later = np.where(grid.may, sooner, 0.0).max(axis=-2, keepdims=True) - sooner
    size = np.asarray(grid.num_processors, float)
    of_scheduler = {"asked": grid.asked, "cluster": grid.cluster / max(clusters - 1, 1)}
    of_cluster = {
        "goes": np.broadcast_to(np.arange(clusters) > 0, size.shape),
        "cluster_size": size / size.sum(axis=-1, keepdims=True),
        "cluster_free": grid.free_processors / size,
        "cluster_queue": grid.waiting_jobs / (grid.waiting_jobs + 32.0),
        "cluster_backlog": grid.backlog_s / (grid.backlog_s + 20_000.0),
    }
    return {
        **{name: values[..., None, None] for name, values in of_scheduler.items()},
        **{name: values[..., None] for name, values in of_cluster.items()},
        "kept": (grid.keeps[..., None] & grid.may[..., 0, :])[..., None, :],
        "from_elsewhere": grid.from_elsewhere[..., None, :],
        "order": (work[..., None] > work[..., None, :]).sum(axis=-1)[..., None, :] / slots,
        "may": grid.may,
        "at_once": at_once(grid, processors),
        **{f"sooner_{scale}": _signed(sooner, scale) for scale in (60, 1200, 20_000)},
        "slowdown": _signed(sooner, np.maximum(requested_s, 10.0)[..., None, :]),
        **{
            f"later_{scale}": np.maximum(later, 0.0) / (np.maximum(later, 0.0) + scale)
            for scale in (600, 20_000)
        },
    }


def _signed(values: np.ndarray, scale) -> np.ndarray:
    return 0.5 + 0.5 * values / (np.abs(values) + scale)
