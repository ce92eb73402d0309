"""What each choice of a scheduler is worth if a rule went on from there.

How long jobs wait is mostly a matter of which jobs come, and of all that was chosen before. But how
much one choice changes can be had by itself: from the state before it and the one after it the rule
plays the same jobs to the end, and the difference is its worth. A choice that the rule would have
made is worth 0. Over an episode these differences add up to that between the rule, from its start
on, and the scheduler, which no choice can change but by what it is worth: the best schedule is the
same (as for potentials, Ng et al.: Policy invariance under reward transformations, ICML 1999; that
they may know what comes, Mao et al.: Variance reduction for reinforcement learning in input-driven
environments, ICLR 2019).
"""

import numpy as np

from marlserve.envs.job_scheduling.observation import Measured
from marlserve.envs.job_scheduling.rules import RULES
from marlserve.envs.sims.backfill import NONE, Cluster


class Reference:
    """A rule that would choose, of all that wait, on the clusters of a problem.

    Args:
        base: one of `rules.LASTING`.
    """

    def __init__(self, base: str, cluster: Cluster):
        self._rule, self._cluster = RULES[base], cluster
        self._order = np.zeros(cluster.jobs.shape)
        self._foreseen = np.zeros(len(cluster.jobs))
        self._differs = np.zeros(len(cluster.jobs), bool)

    def begin(self, copy: int) -> None:
        """A copy has new jobs."""
        self._order[copy] = self._rule(_all_at_once(self._cluster, copy))
        self._foreseen[copy] = self._cluster.foreseen(self._order, [copy])[0]

    def compare(self, chosen: np.ndarray) -> None:
        """Before a step that starts the jobs in these slots, [B], or none: NONE."""
        cluster, jobs = self._cluster, self._cluster.jobs
        waits = (jobs["submit_s"] <= cluster.copies["clock_s"][:, None]) & (jobs["start_s"] < 0.0)
        own = np.where(waits, self._order, np.inf).argmin(axis=1)
        started = cluster.visible["job"][np.arange(len(chosen)), np.maximum(chosen, 0)]
        self._differs = ((chosen == NONE) | (started != own)) & ~cluster.over

    def gains(self) -> np.ndarray:
        """After it: by how much the sum of bounded slowdowns at the end will be less, [B]."""
        gains, copies = np.zeros(len(self._foreseen)), np.flatnonzero(self._differs)
        foreseen = self._cluster.foreseen(self._order, copies)
        gains[copies], self._foreseen[copies] = self._foreseen[copies] - foreseen, foreseen
        return gains


def _all_at_once(cluster: Cluster, copy: int) -> Measured:
    """All jobs of an episode, as if they waited when the last one comes: `LASTING` rules order them
    then as at any time."""
    jobs, none = cluster.jobs[copy], np.zeros(cluster.jobs.shape[1])
    return Measured(
        shown_jobs=np.array(len(jobs)),
        wait_s=jobs["submit_s"][-1] - jobs["submit_s"],
        requested_s=jobs["requested_s"],
        processors=jobs["processors"].astype(float),
        start_in_s=none,
        user_processors=none,
        rejections=none,
        time_s=jobs["submit_s"][-1],
        free_processors=np.array(0),
        waiting_jobs=np.array(len(jobs)),
        running_jobs=np.array(0),
        num_processors=np.array(cluster.num_processors),
        proposed=np.array(-1),
    )
