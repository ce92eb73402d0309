"""What became of the jobs of an episode, in physical units."""

import numpy as np

from marlserve.envs.sims.backfill import SHORTEST_S
from marlserve.envs.sims.backfill_grid import MOST_CLUSTERS


def of(jobs: np.ndarray, first_s: np.ndarray, num_processors: float) -> dict[str, np.ndarray]:
    """Of the jobs that have started, whose ends are known then: slowdowns, (wait + run) / run, and
    bounded ones with run times of at least 10 s; times in seconds; the share of all processors that
    they fill from the first submission to the last end.

    Args:
        jobs: `backfill_arrays.JOB`, [B, J]; start_s is -1 of those that have not started.
        first_s: when the first one was submitted, [B].
        num_processors: of all clusters.
    """
    started = jobs["start_s"] >= 0.0
    count = np.maximum(started.sum(axis=1), 1)
    wait_s = np.where(started, jobs["start_s"] - jobs["submit_s"], 0.0)
    total_s = np.where(started, wait_s + jobs["run_s"], 0.0)
    bounded = started * np.maximum(total_s / np.maximum(jobs["run_s"], SHORTEST_S), 1.0)
    end_s = np.where(started, jobs["end_s"], 0.0).max(axis=1)
    span_s = np.maximum(end_s - first_s, 0.0)
    work = (started * jobs["run_s"] * jobs["processors"]).sum(axis=1)
    return {
        "mean_bounded_slowdown": bounded.sum(axis=1) / count,
        "max_bounded_slowdown": bounded.max(axis=1),
        "max_user_bounded_slowdown": _worst(jobs["user"], bounded, started),
        "mean_slowdown": (total_s / jobs["run_s"]).sum(axis=1) / count,
        "mean_wait_s": wait_s.sum(axis=1) / count,
        "mean_turnaround_s": total_s.sum(axis=1) / count,
        "utilisation": work / num_processors / np.maximum(span_s, 1.0),
        "makespan_s": span_s,
        "backfilled_share": (jobs["backfilled"] * started).sum(axis=1) / count,
        "rejections": jobs["rejections"].sum(axis=1).astype(float),
        "started": started.sum(axis=1).astype(float),
    }


def migrations_per_job(jobs: np.ndarray) -> np.ndarray:
    """How often the jobs that have started were sent to another cluster, in the mean, [B]."""
    started = jobs["start_s"] >= 0.0
    visits = sum((jobs["been"] >> k) & 1 for k in range(MOST_CLUSTERS))
    return np.where(started, visits - 1, 0).sum(axis=1) / np.maximum(started.sum(axis=1), 1)


def _worst(user: np.ndarray, bounded: np.ndarray, started: np.ndarray) -> np.ndarray:
    """The largest mean over the jobs of a user, of those that have started, [B]."""
    shape = len(user), int(user.max()) + 2  # users, and those that nobody knows
    whose = (user + 1 + shape[1] * np.arange(shape[0])[:, None]).ravel()
    size = shape[0] * shape[1]
    total, count = (np.bincount(whose, x.ravel(), size) for x in (bounded, started))
    return (total / np.maximum(count, 1.0)).reshape(shape).max(axis=1)
