"""What a rule would have paid for the same jobs by the same time, to compare a scheduler with it.

How long jobs wait is mostly a matter of which jobs come. A rule that is given the same ones pays
for them too, so that the difference is much less a matter of chance (Mao et al.: Variance reduction
for reinforcement learning in input-driven environments, ICLR 2019). What the rule pays in all does
not depend on what the scheduler does, so the best schedule is the same.
"""

import numpy as np

from marlserve.envs.job_scheduling.config import Config
from marlserve.envs.job_scheduling.observation import Measured
from marlserve.envs.job_scheduling.rules import RULES
from marlserve.envs.sims.backfill import SHORTEST_S, Cluster


class Reference:
    """Clusters beside those of a problem, on which the rule `base` chooses, of all that wait."""

    def __init__(self, config: Config, num_envs: int, num_processors: int):
        self._rule = RULES[config.base]
        self.cluster = Cluster(
            *(num_envs, config.num_jobs, num_processors, config.backfill, config.kill), slots=1
        )
        self._paid = np.zeros(num_envs)

    def begin(self, copy: int, *columns: np.ndarray) -> None:
        """Play the jobs of an episode, as `Cluster.reset` is given them, to their end."""
        self.cluster.reset(copy, *columns)
        jobs = self.cluster.jobs[copy]
        self.cluster.follow(copy, self._rule(_all_at_once(jobs, self.cluster.num_processors)))
        self._paid[copy] = 0.0

    def rise(self, clock_s: np.ndarray, over: np.ndarray) -> np.ndarray:
        """By how much the sum of bounded slowdowns rose since the last call, [B].

        Args:
            clock_s: until when, [B].
            over: where all that is to come is counted, [B].
        """
        jobs = self.cluster.jobs
        until_s = np.minimum(jobs["start_s"], np.where(over, np.inf, clock_s)[:, None])
        wait_s = np.maximum(until_s - jobs["submit_s"], 0.0)
        long_s = np.maximum(jobs["run_s"], SHORTEST_S)
        paid = (np.maximum(wait_s + jobs["run_s"] - long_s, 0.0) / long_s).sum(axis=1)
        rise, self._paid = paid - self._paid, paid
        return rise


def _all_at_once(jobs: np.ndarray, num_processors: int) -> Measured:
    """All jobs of an episode, as if they waited when the last one comes: `LASTING` rules order them
    then as at any time."""
    none, time_s = np.zeros(len(jobs)), jobs["submit_s"][-1]
    return Measured(
        shown_jobs=np.array(len(jobs)),
        wait_s=time_s - jobs["submit_s"],
        requested_s=jobs["requested_s"],
        processors=jobs["processors"].astype(float),
        start_in_s=none,
        user_processors=none,
        rejections=none,
        time_s=time_s,
        free_processors=np.array(0),
        waiting_jobs=np.array(len(jobs)),
        running_jobs=np.array(0),
        num_processors=np.array(num_processors),
        proposed=np.array(-1),
    )
