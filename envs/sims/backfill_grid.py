"""B grids of K clusters with backfilling, each with a scheduler, that hand jobs over. No learning.

    grid = Grid(num_envs=32, num_jobs=256, sizes=(128, 64, 64), transfer_s=60.0)
    grid.reset(0, submit_s, run_s, requested_s, processors, home)  # copy 0
    grid.members["asked"][0], grid.legal[0]    # who decides, and on what
    grid.step([[3, ...], ...])                 # of each copy and cluster, an action

Each cluster is one of `backfill`, and if no job is sent it does to the last bit what that does. All
clusters of a copy are played in one order of time: what happens at one time happens in all of them
before anyone decides. A scheduler is asked

- when no job is chosen and one waits: it starts one, or sends one away;
- while the cluster is kept for the chosen job, which stays so, when another came and any of those
  that wait may be sent: it sends one, and is asked again, or it starts the chosen one as it was
  to, which is to keep all that are left.

A step is a round: all that are asked at one time decide on what is known as it begins, and act in
the order of clusters. A job that is sent is there transfer_s later, behind those that came by then.
It goes to clusters that are large enough for it, to none where it has been, and max_migrations
times at most; so nothing wanders for ever.

Action a, with V slots: the job in slot a % V is started, if a // V is 0, or sent to the cluster
that is so many further; after the last one comes the first.

Reference: Shan, Oliker, Biswas: Job superscheduler architecture and performance in computational
grid environments, SC 2003 (schedulers that hand jobs over).
"""

from collections.abc import Sequence

import numpy as np

from marlserve.envs.sims import backfill_grid_kernel as kernel
from marlserve.envs.sims.backfill import Cluster
from marlserve.envs.sims.backfill_jobs import COLUMNS, load
from marlserve.envs.sims.backfill_visible import show

__all__ = ["MOST_CLUSTERS", "Grid"]
MOST_CLUSTERS = 16


class Grid:
    """See the module.

    Args:
        num_envs: B.
        num_jobs: J, of each copy, in all clusters.
        sizes: processors of each cluster, [K], 1 to 16 of them.
        backfill, kill, slots: as of `backfill.Cluster`.
        transfer_s: how long a job is on its way.
        max_migrations: of each job.

    Attributes:
        copies, jobs, visible, steps: as of `Cluster`, with a row for each cluster, [B K, ...]: row
            b K + k is cluster k of copy b. Of jobs, "number" says which of the episode's it is and
            "been" has bit k where it was in cluster k; one that was sent is a further one where it
            goes, and never starts where it was.
        members: `kernel.MEMBER`, [B, K]: job for which a cluster is kept, or NONE; whether it is
            asked; the jobs that come there; and how long by their limits all its processors take
            for what runs, waits, and is on its way from elsewhere.
        legal: the actions that may be taken, [B, K, K, V] bool.

    Raises:
        ValueError: for a bad value, naming it.
    """

    def __init__(
        self,
        num_envs: int,
        num_jobs: int,
        sizes: Sequence[int],
        backfill: str = "easy",
        kill: bool = False,
        slots: int = 128,
        transfer_s: float = 60.0,
        max_migrations: int = 1,
    ):
        if not (1 <= len(sizes) <= MOST_CLUSTERS and min(sizes) >= 1):
            allowed = f"1 to {MOST_CLUSTERS} clusters of at least 1 processor"
            raise ValueError(f"sizes is {sizes}; allowed are {allowed}")
        if not 0.0 <= transfer_s < np.inf:
            raise ValueError(f"transfer_s is {transfer_s}; allowed is at least 0, and finite")
        if not max_migrations >= 0:
            raise ValueError(f"max_migrations is {max_migrations}; allowed is at least 0")
        count = len(sizes)
        rows = Cluster(num_envs * count, num_jobs, max(sizes), backfill, kill, slots)
        self.copies, self.jobs, self.visible, self.steps = (
            *(rows.copies, rows.jobs),
            *(rows.visible, rows.steps),
        )
        self.sizes, self.kill = np.array(sizes, np.int64), kill
        self.members = np.zeros((num_envs, count), kernel.MEMBER)
        self.legal = np.zeros((num_envs, count, count, slots), bool)
        self.legal[:, :, 0, 0] = True
        self._grid = kernel.Grid(
            copies=np.array([(0.0, 1)] * num_envs, kernel.GRID),
            members=self.members,
            legal=self.legal,
            sizes=self.sizes,
            transfer_s=float(transfer_s),
            max_migrations=int(max_migrations),
        )
        self._rules, self._state = rows.rules, rows.state

    def reset(
        self,
        copy: int,
        submit_s: np.ndarray,
        run_s: np.ndarray,
        requested_s: np.ndarray,
        processors: np.ndarray,
        home: np.ndarray,
    ) -> None:
        """Empty the clusters of a copy, give them the jobs of an episode, [J], and play until a
        scheduler is asked.

        Args:
            copy: its index.
            submit_s, run_s, requested_s, processors: as `Cluster.reset` takes them.
            home: the cluster that each job is submitted to.

        Raises:
            ValueError: as `Cluster.reset`, and for a home that is no cluster.
        """
        columns = self._checked((submit_s, run_s, requested_s, processors), home)
        count = len(self.sizes)
        for k in range(count):
            row, own = copy * count + k, np.flatnonzero(np.asarray(home) == k)
            mine = np.ones((len(COLUMNS), self.jobs.shape[1]))
            mine[0], mine[4] = np.inf, -1.0  # places for those that may be sent here: never come
            mine[:4, : len(own)] = columns[:, own]
            load(row, mine, self.kill, self._state)
            self.jobs["number"][row, : len(own)] = own
            self.jobs["been"][row] = 1 << k
            shown = self.copies["shown"][row]  # which are emptied as others are shown
            self.copies[row], self.steps[row] = 0, 0
            self.copies["free"][row], self.copies["shown"][row] = self.sizes[k], shown
            self.members["count"][copy, k] = len(own)
        kernel.begin(copy, float(columns[0, 0]), self._grid, self._rules, self._state)
        show(copy * count, (copy + 1) * count, self._state)
        kernel.look(copy, copy + 1, self._grid, self._state)

    def _checked(self, given: tuple[np.ndarray, ...], home: np.ndarray) -> np.ndarray:
        """The columns but for users, [4, J]."""
        count, sizes = self.jobs.shape[1], self.sizes
        for name, values in zip((*COLUMNS[:4], "home"), (*given, home), strict=True):
            if np.shape(values) != (count,):
                raise ValueError(f"{name} has shape {np.shape(values)}; allowed is {(count,)}")
        submit_s, run_s, requested_s, processors = columns = np.array(given, float)
        whose = np.asarray(home)
        known = (whose >= 0) & (whose < len(sizes))
        size = sizes[np.where(known, whose, 0)]
        rises = np.concatenate(([np.isfinite(submit_s[0])], submit_s[1:] >= submit_s[:-1]))
        for name, values, good, allowed in (
            ("submit_s", submit_s, rises & (submit_s < np.inf), "sorted times"),
            ("run_s", run_s, (run_s > 0.0) & (run_s < np.inf), "more than 0 s"),
            ("requested_s", requested_s, (requested_s > 0) & (requested_s < np.inf), "more than 0"),
            ("home", whose, known, f"0 to {len(sizes) - 1}, a cluster"),
            ("processors", processors, (processors >= 1) & (processors <= size), "what it has"),
        ):
            if not good.all():
                row = int(np.argmin(good))
                raise ValueError(f"{name} of job {row} is {values[row]}; allowed is {allowed}")
        return columns

    def step(self, actions: np.ndarray | Sequence[Sequence[int]]) -> None:
        """In each copy, [B, K], let those schedulers act that are asked; what others do is nothing.

        Copies that are over stay as they are.

        Raises:
            ValueError: for an action of one that is asked that is not legal.
        """
        chosen = np.asarray(actions, np.int64)
        if chosen.shape != self.members.shape:
            raise ValueError(f"actions have shape {chosen.shape}; allowed is {self.members.shape}")
        flat = self.legal.reshape(*chosen.shape, -1)
        inside = (chosen >= 0) & (chosen < flat.shape[-1])
        good = np.take_along_axis(flat, np.where(inside, chosen, 0)[..., None], axis=-1)[..., 0]
        bad = (self.members["asked"] > 0) & ~(inside & good) & ~self.over[:, None]
        if bad.any():
            copy, k = np.argwhere(bad)[0]
            allowed = np.flatnonzero(flat[copy, k]).tolist()
            raise ValueError(
                f"action of cluster {k} of copy {copy} is {chosen[copy, k]}; allowed are {allowed}"
            )
        kernel.step(chosen, self._grid, self._rules, self._state)
        show(0, len(self.copies), self._state)
        kernel.look(0, len(chosen), self._grid, self._state)

    @property
    def over(self) -> np.ndarray:
        """Where all jobs have started, [B]."""
        return self._grid.copies["over"] > 0

    @property
    def clock_s(self) -> np.ndarray:
        """[B]."""
        return self._grid.copies["clock_s"]
