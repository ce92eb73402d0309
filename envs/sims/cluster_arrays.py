"""What the arrays of `marlserve.envs.sims.cluster` hold, for it and for its compiled kernel."""

from collections import namedtuple

import numpy as np

SERVER = np.dtype(
    [(name, "f8") for name in ("cores", "speed", "rate", "virtual", "updated_s")]
    + [(name, "f8") for name in ("flow_s", "busy_core_s")]  # integrals of jobs and of busy cores
    + [(name, "i8") for name in ("running", "waiting")]
    + [(name, "i8") for name in ("top", "first", "last")]  # places: of the heap, of those in line
)
JOB = np.dtype(  # in the system; server -1: the place is free
    [(name, "f8") for name in ("arrival_s", "work_s", "uniform", "done_at")]  # the last is virtual
    + [("number", "i8")]  # in the order of arrival, from 0
    + [(name, "i4") for name in ("balancer", "server", "child", "next")]
)
ARRIVAL = np.dtype(
    [(name, "f8") for name in ("time_s", "work_s", "uniform")] + [("balancer", "i8")]
)
CHANGE = np.dtype([("time_s", "f8"), ("server", "i8"), ("speed", "f8")])
COPY = np.dtype(
    [("clock_s", "f8")]
    + [(name, "i8") for name in ("arrived", "completed", "rejected", "lost")]
    + [(name, "i8") for name in ("next_arrival", "next_change", "log_length")]
    + [(name, "i8") for name in ("free", "used")]  # first free place, -1: none; places ever used
)
BALANCER = np.dtype(  # excess: sum over flows sent of log(slowdown met / least slowdown)
    [(name, "f8") for name in ("flow_s", "updated_s", "excess")]
    + [(name, "i8") for name in ("flows", "sent", "turn")]
)
PAIR = np.dtype([("weight", "f8"), ("flows", "i8")])  # of a balancer and a server
LOG = np.dtype(  # pair: balancer * M + server; number: of the job
    [("pair", "i8"), ("number", "i8"), ("value_s", "f8"), ("time_s", "f8"), ("work_s", "f8")]
)

# How a flow's server is chosen. The last sees the flows of all balancers: no deployment does.
SHORTEST_EXPECTED_DELAY, LEAST_CONNECTIONS, WEIGHTED_RANDOM, ROUND_ROBIN = range(4)
POWER_OF_TWO, GLOBAL_DELAY = 4, 5

# Why the loop of one copy stopped. It resumes exactly there once the arrays have grown.
DONE, NEEDS_POOL, NEEDS_LOG = range(3)

Rules = namedtuple("Rules", "dispatch max_running max_backlog requeue")

# Tournament trees of one copy, [2 + K, 2 P]: when each server's next job is done; the slowdown of
# one more job if the server stayed as it is; and from DELAY on what each balancer goes by.
DONE_S, SLOWDOWN, DELAY = range(3)
