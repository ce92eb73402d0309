"""The jobs that a cluster of `backfill` is given: checked, and written down."""

import numpy as np
from numba import njit

from marlserve.envs.sims.backfill_arrays import NONE, SHORTEST_S

COLUMNS = ("submit_s", "run_s", "requested_s", "processors", "user")


@njit(cache=True)
def first_bad(columns, num_processors):
    """Of COLUMNS, [5, J], which one has a value that is not allowed, and in which row; or NONE."""
    submit_s, processors = columns[0], columns[3]
    for row in range(1, len(submit_s)):
        if not submit_s[row] >= submit_s[row - 1]:
            return 0, row
    for column in (1, 2):
        for row in range(len(submit_s)):
            if not 0.0 < columns[column, row] < np.inf:
                return column, row
    for row in range(len(submit_s)):
        if not 1.0 <= processors[row] <= num_processors:
            return 3, row
    return NONE, NONE


@njit(cache=True)
def load(b, columns, kill, state):
    """Give copy b these jobs; none of them has come. Users are numbered as they come."""
    jobs, number, count = state.jobs, state.waiting[b], 0
    for q in range(jobs.shape[1]):
        job = jobs[b, q]
        job.submit_s, job.run_s, job.requested_s = columns[0, q], columns[1, q], columns[2, q]
        if kill:
            job.run_s = min(job.run_s, job.requested_s)
        job.per_s = 1.0 / max(job.run_s, SHORTEST_S)
        job.processors, job.user = columns[3, q], NONE
        job.rejections = job.backfilled = 0
        job.came_s, job.start_s, job.end_s, job.limit_s = job.submit_s, -1.0, 0.0, 0.0
        job.number, job.been = q, 0
        if columns[4, q] >= 0:
            first = 0  # of the same user
            while columns[4, first] != columns[4, q]:
                first += 1
            if first == q:
                number[q], count = count, count + 1
            job.user = number[first]
        state.used[b, q] = 0
