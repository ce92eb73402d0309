"""B clusters of processors, their waiting and running jobs, and backfilling. No learning.

    cluster = Cluster(num_envs=32, num_jobs=256, num_processors=256, backfill="easy")
    cluster.reset(0, submit_s, run_s, requested_s, processors)     # copy 0
    cluster.visible[0]["job"], cluster.visible[0]["wait_s"]        # what may be chosen, `SLOT`
    cluster.step([3, ...])                                         # in each copy, a slot

Each step chooses one of the jobs that wait. If its processors are free it starts at once; if not,
the time goes on until they are, and nothing else is chosen meanwhile: the cluster is kept for it.
With backfilling, others may start in between, where by their requested times they do not put off
what was promised, first come, first served:

    easy          the chosen job has a reservation, where by their limits enough of those that run
                  will have ended. Others start if they end before it by theirs, or if they take
                  processors that it leaves over.
    conservative  all that wait have one, the chosen job the first; they are planned anew at each
                  event, so nobody's moves back unless jobs run longer than they requested.

As a job is started, the next step follows: at the same time if others wait. A copy is over when all
its jobs have started; how long they run is known then. A job that runs longer than it requested
goes on, or with `kill` is stopped at its limit; reservations take late ones to end at any time.

Nothing is drawn: the same jobs and choices give the same times, and all times are sums of those
that are given, so whole seconds stay whole.

References: Lifka: The ANL/IBM SP scheduling system, JSSPP 1995 (EASY); Mu'alem, Feitelson:
Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM SP2 with
backfilling, TPDS 12, 2001 (both).
"""

from collections.abc import Sequence

import numpy as np

from marlserve.envs.sims import backfill_kernel as kernel
from marlserve.envs.sims.backfill_arrays import (
    BACKFILL,
    COPY,
    JOB,
    NONE,
    SHORTEST_S,
    SLOT,
    STEP,
    Rules,
    State,
)
from marlserve.envs.sims.backfill_jobs import COLUMNS, first_bad, load
from marlserve.envs.sims.backfill_visible import show

__all__ = ["BACKFILL", "NONE", "SHORTEST_S", "Cluster"]


class Cluster:
    """See the module.

    Args:
        num_envs: B.
        num_jobs: J, of each copy.
        num_processors: of each cluster.
        backfill: one of BACKFILL.
        kill: whether jobs are stopped at their limit.
        slots: V, jobs that are shown at most; of more, half are the oldest and half the shortest of
            the others, by requested time.
        wait_s: that a step which chooses no job takes at most.

    Attributes:
        copies: `backfill_arrays.COPY`, [B].
        jobs: `JOB`, [B, J]; start_s is -1 before a job starts.
        visible: `SLOT`, [B, V]; what may be chosen, in order of arrival; job is NONE where none is.
        steps: `STEP`, [B]: by how much the last step let sums over jobs grow. Slowdowns grow as
            jobs wait: over all steps, "slowdown" sums up to wait_s / run_s, "bounded_slowdown" to
            max(1, (wait_s + run_s) / max(run_s, 10 s)) - 1.

    Raises:
        ValueError: for a bad value, naming it.
    """

    def __init__(
        self,
        num_envs: int,
        num_jobs: int,
        num_processors: int,
        backfill: str = "easy",
        kill: bool = False,
        slots: int = 128,
        wait_s: float = 600.0,
    ):
        sizes = {
            **{"num_envs": num_envs, "num_jobs": num_jobs, "num_processors": num_processors},
            "slots": slots,
        }
        for name, value in sizes.items():
            if not value >= 1:
                raise ValueError(f"{name} is {value}; allowed is at least 1")
        if backfill not in BACKFILL:
            raise ValueError(f"backfill is {backfill!r}; allowed are {tuple(BACKFILL)}")
        if not wait_s > 0.0:
            raise ValueError(f"wait_s is {wait_s}; allowed is a positive number")
        self.num_processors, self.kill = num_processors, kill
        self.copies = np.zeros(num_envs, COPY)
        self.copies["over"] = 1
        self.jobs = np.zeros((num_envs, num_jobs), JOB)
        self.visible = np.zeros((num_envs, slots), SLOT)
        self.visible["job"] = NONE
        self.steps = np.zeros(num_envs, STEP)
        self._columns = np.empty((len(COLUMNS), num_jobs))
        self._allowed = (
            *("sorted times", "more than 0 s", "more than 0 s"),
            f"1 to {num_processors}, what the cluster has",
        )
        self.rules = Rules(BACKFILL[backfill], float(wait_s))
        self.state = _state(self.copies, self.jobs, self.visible, self.steps)
        alone = (np.zeros_like(x[:1]) for x in (self.copies, self.jobs, self.visible, self.steps))
        self._ahead = _state(*alone)

    def reset(
        self,
        copy: int,
        submit_s: np.ndarray,
        run_s: np.ndarray,
        requested_s: np.ndarray,
        processors: np.ndarray,
        user: np.ndarray | None = None,
    ) -> None:
        """Empty a cluster, give it the jobs of an episode, [J], and play until the first is there.

        Args:
            copy: its index.
            submit_s: sorted.
            run_s: how long they would run.
            requested_s: limits.
            processors: that they need.
            user: any number that is the same for jobs of one user, -1 where that is not known.

        Raises:
            ValueError: for other lengths, times that are not sorted, run times and limits that are
                not positive, and jobs of no processor or of more than there are; it names the first
                bad value.
        """
        given = (submit_s, run_s, requested_s, processors)
        count = self.jobs.shape[1]
        for name, values in zip(COLUMNS, given, strict=False):
            if np.shape(values) != (count,):
                raise ValueError(f"{name} has shape {np.shape(values)}; allowed is {(count,)}")
        for column, given_values in enumerate((*given, NONE if user is None else user)):
            self._columns[column] = given_values
        column, row = first_bad(self._columns, self.num_processors)
        if column != NONE:
            raise ValueError(
                f"{COLUMNS[column]} of job {row} is {given[column][row]}; allowed is "
                + self._allowed[column]
            )
        load(copy, self._columns, self.kill, self.state)
        shown = self.copies["shown"][copy]  # which are emptied as others are shown
        self.copies[copy], self.steps[copy] = 0, 0
        self.copies["free"][copy], self.copies["shown"][copy] = self.num_processors, shown
        kernel.begin(copy, self.state)
        show(copy, copy + 1, self.state)

    def step(self, chosen: np.ndarray | Sequence[int]) -> None:
        """In each copy, [B], start the job in this slot, or, for NONE, wait for what happens next.

        Copies that are over stay as they are.

        Raises:
            ValueError: for a slot without a job.
        """
        slots = np.asarray(chosen, np.int64)
        if slots.shape != self.copies.shape:
            raise ValueError(f"chosen has shape {slots.shape}; allowed is {self.copies.shape}")
        if (copy := kernel.step(slots, self.rules, self.state)) != NONE:
            raise ValueError(
                f"copy {copy} was to start slot {slots[copy]}; allowed is {NONE}, to wait, and "
                f"below {self.copies['shown'][copy]}, the jobs that are shown"
            )
        show(0, len(slots), self.state)

    def foreseen(self, order: np.ndarray, copies: np.ndarray | Sequence[int]) -> np.ndarray:
        """Of these copies, the sum of bounded slowdowns of all jobs at the end, if from now on the
        job with the lowest order, [B, J], of all that wait was always started, of tied ones the one
        that came first.

        They are played on beside the copies, which stay as they are.
        """
        indices, totals = np.asarray(copies, np.int64), np.zeros(len(self.copies))
        kernel.foresee(indices, order, self.rules, self.state, self._ahead, totals)
        return totals[indices]

    @property
    def over(self) -> np.ndarray:
        """Where all jobs have started, [B]."""
        return self.copies["over"] > 0


def _state(copies: np.ndarray, jobs: np.ndarray, visible: np.ndarray, steps: np.ndarray) -> State:
    """All arrays, with those that are made of these."""
    orders = ("waiting", "by_request", "by_end", "by_limit", "used")
    return State(
        copies=copies,
        jobs=jobs,
        visible=visible,
        steps=steps,
        freed=np.zeros(2 * jobs.shape[1] + 1, np.int32),
        limit_s=np.zeros(2 * jobs.shape[1] + 1),
        is_short=np.zeros(jobs.shape[1], bool),
        **{name: np.zeros(jobs.shape, np.int64) for name in orders},
    )
