"""What the arrays of `marlserve.envs.sims.backfill` hold, and how its kernels are compiled."""

from typing import NamedTuple

import numpy as np
from numba import njit

# Kernels that allocate nothing need not count references to arrays, which was half of their time.
compiled = njit(cache=True, _nrt=False)  # type: ignore[call-overload]

COPY = np.dtype(
    [(name, "i8") for name in ("next", "waiting", "running", "free", "started", "shown", "over")]
    + [(name, "f8") for name in ("clock_s", "first_s", "step_s")]
)
JOB = np.dtype(  # what is read of those that wait comes first, and is small
    [(name, "f8") for name in ("submit_s", "run_s", "requested_s", "per_s")]
    + [(name, "i4") for name in ("processors", "user", "rejections", "backfilled")]
    + [("came_s", "f8")]  # to this cluster: as it was submitted, or from another one
    + [(name, "f8") for name in ("start_s", "end_s", "limit_s")]
    + [(name, "i4") for name in ("number", "been")]  # in an episode, and where, see `backfill_grid`
)
SLOT = np.dtype(  # a place in the queue that is shown; all but the job's number as floats
    [("job", "i8")]
    + [(name, "f8") for name in ("wait_s", "requested_s", "processors", "start_in_s")]
    + [(name, "f8") for name in ("user_processors", "rejections")]
)
STEP = np.dtype(  # what a step brought, summed over jobs
    [(name, "f8") for name in ("bounded_slowdown", "slowdown", "wait_s", "started_run_s")]
)
NONE = -1
BACKFILL = {"none": 0, "easy": 1, "conservative": 2}
SHORTEST_S = 10.0  # jobs count as at least so long in bounded slowdowns


class Rules(NamedTuple):
    """Those that the kernel is told."""

    backfill: int  # one of BACKFILL's
    wait_s: float  # that a step which chooses no job takes at most


class State(NamedTuple):
    """All arrays. Orders hold the numbers of jobs, [B, J]."""

    copies: np.ndarray  # COPY, [B]
    jobs: np.ndarray  # JOB, [B, J]
    waiting: np.ndarray  # in order of arrival
    by_request: np.ndarray  # those that wait, the shortest requested time first
    by_end: np.ndarray  # those that run, the last one to end first
    by_limit: np.ndarray  # those that run, the first one to reach its limit first
    used: np.ndarray  # processors of each user, [B, J]
    visible: np.ndarray  # SLOT, [B, V]
    steps: np.ndarray  # STEP, [B]
    freed: np.ndarray  # of one copy at a time, [2 J + 1]: processors after so many limits,
    limit_s: np.ndarray  # and seconds until then
    is_short: np.ndarray  # likewise, [J]: whether a job is one of the shortest
