"""What the arrays of `marlserve.envs.sims.backfill` hold, for it and for its compiled kernel."""

import numpy as np

COPY = np.dtype(
    [(name, "i8") for name in ("next", "waiting", "running", "free", "started", "shown", "over")]
    + [(name, "f8") for name in ("clock_s", "first_s", "busy_s")]  # busy_s: of processors, summed
)
JOB = np.dtype(
    [(name, "f8") for name in ("submit_s", "run_s", "requested_s")]
    + [("processors", "i8"), ("user", "i8"), ("rejections", "i8"), ("backfilled", "i8")]
    + [(name, "f8") for name in ("start_s", "end_s", "limit_s", "per_s")]
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
