"""The scheduling problem: sides of `benchmark.py`.

First come, first served, on drawn jobs for 256 processors at a load of 1, through the array
interface. A decision is a choice of the scheduler, with what it sees of up to 128 jobs; drawing
episodes is part of it. With backfilling a decision starts some three jobs, the chosen one and those
that fit beside it, and the queue is short; without, some 70 jobs are shown.
"""

from functools import partial

import numpy as np

from marlserve.envs.job_scheduling import Config, Problem
from marlserve.experiments.benchmarks.work import Side, timed

COPIES, STEPS = 32, 500


def problem(max_visible: int, backfill: str) -> Side:
    """A side: steps of all copies."""
    batch = Problem(Config(max_visible=max_visible, backfill=backfill), COPIES)
    batch.reset(range(COPIES))
    oldest = np.zeros((COPIES, 1), np.int64)

    def play() -> int:
        for _ in range(STEPS):
            _, _, terminated, _ = batch.step(oldest)
            if terminated.any():
                batch.reset(copies=np.flatnonzero(terminated))
        return STEPS * COPIES

    return timed(play)


DECISIONS = {
    "no backfilling, 128 shown": partial(problem, 128, "none"),
    "no backfilling, 16 shown": partial(problem, 16, "none"),
    "EASY, 128 shown": partial(problem, 128, "easy"),
    "EASY, 16 shown": partial(problem, 16, "easy"),
}
