"""Load balancers that share a pool of processor-sharing servers, event by event, B copies at once.

Model, for each of B independent copies:

- M servers; server j has `cores[j]` cores and a speed s_j. Each of its n running jobs receives
  work at rate s_j * min(1, cores_j / n). At most `max_running` jobs run; the next `max_backlog`
  wait first come first served; a job that finds both full is rejected.
- K balancers; each job arrives at one of them and is sent to a server at once. A balancer knows
  only its own flows: q_ij counts those it has in progress at server j.
- Speeds may change at given times. Speed 0 is a failure, which balancers notice at once: jobs at
  the server are dispatched anew, from the start of their work, or lost.

Rules of dispatch, with weights w_ij >= 0 (0: may not be used): shortest expected delay,
argmin_j (q_ij + 1) / w_ij, as in Yao et al. 2022 (arXiv 2201.11727); weighted random choice;
round robin; power of two choices (Mitzenmacher 2001) over q_ij; and, knowing what no balancer
knows, shortest expected delay over the flows of all balancers. With equal weights the first and
the last are the local and the true join-the-shortest-queue. Of tied servers the first one from a
place of the job's own drawing takes it.

Everything is deterministic given the arrivals. With exponential work and one core a server is
M/M/1; the tests hold the simulator to such closed forms.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from marlserve.envs.sims import cluster_kernel as kernel

DISPATCH = {
    "shortest_expected_delay": kernel.SHORTEST_EXPECTED_DELAY,
    "weighted_random": kernel.WEIGHTED_RANDOM,
    "round_robin": kernel.ROUND_ROBIN,
    "power_of_two": kernel.POWER_OF_TWO,
    "global_shortest_expected_delay": kernel.GLOBAL_DELAY,
}


SERVER = np.dtype(
    [(name, "f8") for name in ("cores", "speed", "virtual", "updated_s", "next_done_s")]
    + [(name, "f8") for name in ("flow_s", "busy_core_s")]  # integrals of jobs and of busy cores
    + [(name, "i8") for name in ("running", "waiting", "head")]  # head: of the ring of waiting jobs
)
JOB = np.dtype(
    [(name, "f8") for name in ("arrival_s", "work_s", "uniform", "latency_s")]  # NaN: not complete
    + [("balancer", "i8")]
)
COPY = np.dtype(
    [("clock_s", "f8")]
    + [(name, "i8") for name in ("next_job", "next_change", "log_length")]
    + [(name, "i8") for name in ("arrived", "completed", "rejected", "lost")]
)
CHANGE = np.dtype([("time_s", "f8"), ("server", "i8"), ("speed", "f8")])
BALANCER = np.dtype(  # excess: sum over flows sent of log(slowdown met / least slowdown)
    [(name, "f8") for name in ("flow_s", "updated_s", "excess")]
    + [(name, "i8") for name in ("flows", "sent", "turn")]
)
LOG = np.dtype(  # pair: balancer * M + server
    [("pair", "i8"), ("value_s", "f8"), ("time_s", "f8"), ("work_s", "f8")]
)
_FINISH = np.dtype([("at", "f8"), ("job", "i8")])  # an entry of a server's heap of running jobs


class Cluster:
    """B copies of one cluster.

    Public arrays: `servers` [B, M], `balancers` [B, K], `copies` [B] and `jobs` [B, >= J] with the
    fields of `SERVER`, `BALANCER`, `COPY` and `JOB`, and `ongoing` [B, K, M], each balancer's own
    flows in progress.

    Args:
        num_envs: B.
        num_balancers: K.
        cores: cores of each server, [M], positive.
        dispatch: a key of `DISPATCH`.
        max_running: most jobs that run at once on a server; None for no limit.
        max_backlog: most jobs that wait at a server; None for no limit.
        requeue: whether the jobs of a failed server are dispatched anew or lost.

    Raises:
        ValueError: for an argument outside these bounds.
    """

    def __init__(
        self,
        num_envs: int,
        num_balancers: int,
        cores: Sequence[float],
        dispatch: str = "shortest_expected_delay",
        max_running: int | None = None,
        max_backlog: int | None = None,
        requeue: bool = True,
    ):
        cores = np.asarray(cores, float)
        if dispatch not in DISPATCH:
            raise ValueError(f"dispatch is {dispatch!r}; allowed are {list(DISPATCH)}")
        if cores.ndim != 1 or not len(cores) or not np.all(np.isfinite(cores) & (cores > 0)):
            raise ValueError(f"cores are {cores.tolist()}; they must be positive, one per server")
        for name, value, least in (
            ("num_envs", num_envs, 1),
            ("num_balancers", num_balancers, 1),
            ("max_running", max_running, 1),
            ("max_backlog", max_backlog, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        self.shape = b, k, m = num_envs, num_balancers, len(cores)
        self.copies = np.zeros(b, COPY)
        self.servers = np.zeros((b, m), SERVER)
        self.servers["cores"] = cores
        self.servers["next_done_s"] = np.inf
        self.jobs = np.zeros((b, 1), JOB)
        self.jobs["arrival_s"] = np.inf
        self.balancers = np.zeros((b, k), BALANCER)
        self.ongoing = np.zeros((b, k, m), np.int64)
        self._rules = kernel.Rules(
            DISPATCH[dispatch],
            max_running or 0,
            -1 if max_backlog is None else max_backlog,
            requeue,
        )
        self._changes = np.zeros((b, 1), CHANGE)
        self._changes["time_s"] = np.inf
        self._heaps = np.zeros((b, m, 32), _FINISH)
        self._queues = np.zeros((b, m, 32), np.int64)
        self._log = np.zeros((b, 64), LOG)
        self._status = np.zeros(b, np.int64)

    def load(
        self,
        copy: int,
        time_s: np.ndarray,
        work_s: np.ndarray,
        balancer: np.ndarray,
        uniform: np.ndarray,
        speeds: Sequence[float] | None = None,
        changes: Sequence[tuple[float, int, float]] = (),
    ) -> None:
        """Empty one copy, set its clock to 0, and give it the jobs to come.

        Args:
            copy: its index in the batch.
            time_s: arrival times, sorted, >= 0, [J].
            work_s: work of each job in seconds on one core of speed 1, >= 0, [J].
            balancer: which balancer receives it, in [0, K), [J].
            uniform: its own random draw in [0, 1), for random rules and for ties, [J].
            speeds: speed of every server at the start, [M]; 1 by default.
            changes: (time_s, server, speed), sorted by time.

        Raises:
            ValueError: for arrays of unequal length or values out of these bounds.
        """
        _, num_balancers, num_servers = self.shape
        speeds = np.ones(num_servers) if speeds is None else np.asarray(speeds, float)
        changes = np.asarray(changes, float).reshape(-1, 3)
        time_s, work_s, uniform = (np.asarray(x, float) for x in (time_s, work_s, uniform))
        if not len(time_s) == len(work_s) == len(balancer) == len(uniform):
            raise ValueError("time_s, work_s, balancer and uniform must have equal lengths")
        _require(np.all(np.isfinite(time_s) & (time_s >= 0)), "time_s must be finite and >= 0")
        _require(np.all(np.diff(time_s) >= 0), "time_s must be sorted")
        _require(np.all(np.isfinite(work_s) & (work_s >= 0)), "work_s must be finite and >= 0")
        _require(np.all((uniform >= 0) & (uniform < 1)), "uniform must lie in [0, 1)")
        _require(
            np.all((np.asarray(balancer) >= 0) & (np.asarray(balancer) < num_balancers)),
            f"balancer must lie in [0, {num_balancers})",
        )
        _require(
            speeds.shape == (num_servers,) and np.all(np.isfinite(speeds) & (speeds >= 0)),
            f"speeds must be {num_servers} finite numbers >= 0, not {speeds.tolist()}",
        )
        _require(
            np.all(np.isfinite(changes))
            and np.all(np.diff(changes[:, 0]) >= 0)
            and np.all((changes[:, 0] >= 0) & (changes[:, 2] >= 0))
            and np.all((changes[:, 1] >= 0) & (changes[:, 1] < num_servers)),
            "changes must be (time_s >= 0 sorted, server index, speed >= 0)",
        )
        self.jobs = _fit(self.jobs, len(time_s) + 1)
        self._changes = _fit(self._changes, len(changes) + 1)
        jobs, servers = self.jobs[copy], self.servers[copy]
        # Whatever stands behind the last job never arrives; the same for the last change.
        jobs["arrival_s"], jobs["latency_s"], jobs["balancer"] = np.inf, np.nan, 0
        self._changes["time_s"][copy], self._changes["server"][copy] = np.inf, 0
        for column, values in zip(
            ("arrival_s", "work_s", "balancer", "uniform"),
            (time_s, work_s, balancer, uniform),
            strict=True,
        ):
            jobs[column][: len(values)] = values
        for column, values in zip(CHANGE.names, changes.T, strict=True):
            self._changes[column][copy, : len(values)] = values
        for column in SERVER.names:
            if column != "cores":
                servers[column] = 0
        servers["speed"], servers["next_done_s"] = speeds, np.inf
        self.copies[copy] = 0
        self.ongoing[copy] = 0
        self.balancers[copy] = 0

    def advance(self, weights: np.ndarray, until_s: float | np.ndarray) -> None:
        """Play all copies up to `until_s` ([B] or one time) with weights [B, K, M] in force.

        Raises:
            ValueError: for weights of another shape, negative or not finite, or a time gone by.
        """
        weights = np.ascontiguousarray(weights, float)
        if weights.shape != self.shape or not np.all(np.isfinite(weights) & (weights >= 0)):
            raise ValueError(f"weights must be finite and >= 0, of shape {self.shape}")
        until_s = np.broadcast_to(np.asarray(until_s, float), (self.shape[0],))
        if not np.all(np.isfinite(until_s) & (until_s >= self.copies["clock_s"])):
            raise ValueError(f"until_s is {until_s.tolist()}; it must be finite and not gone by")
        self.copies["log_length"] = 0
        self._status[:] = kernel.NEEDS_LOG
        while self._status.any():
            arrays = (
                *(self.copies, self.jobs, self._changes, self.servers, self._heaps, self._queues),
                *(self.ongoing, self.balancers, self._log),
            )
            kernel.advance(until_s, weights, self._rules, arrays, self._status)
            self._grow()

    def completions(self) -> tuple[np.ndarray, np.ndarray]:
        """What completed during the last `advance`: lengths [B] and `LOG` [B, >= length]."""
        return self.copies["log_length"].copy(), self._log

    def flow_durations(self) -> tuple[np.ndarray, np.ndarray]:
        """How long every flow in the system has been there so far, in the form of `completions`."""
        flows = np.sum(self.servers["running"] + self.servers["waiting"], axis=-1)
        durations = np.zeros((len(flows), max(flows.max(), 1)), LOG)
        _flow_durations(
            *(self.copies, self.jobs, self.servers, self._heaps, self._queues, durations)
        )
        return flows, durations

    def _grow(self) -> None:
        """Double the arrays that stopped a copy."""
        if np.any(self._status == kernel.NEEDS_HEAP):
            self._heaps = _fit(self._heaps, 2 * self._heaps.shape[-1])
        if np.any(self._status == kernel.NEEDS_LOG):
            self._log = _fit(self._log, 2 * self._log.shape[-1])
        if np.any(self._status == kernel.NEEDS_QUEUE):
            width, heads = self._queues.shape[-1], self.servers["head"][..., None]
            rings = np.take_along_axis(self._queues, (heads + np.arange(width)) % width, axis=-1)
            self._queues = _fit(rings, 2 * width)
            self.servers["head"] = 0


def _fit(array: np.ndarray, width: int) -> np.ndarray:
    """The array with its last axis lengthened to at least `width`, filled with its last entry."""
    extra = width - array.shape[-1]
    if extra <= 0:
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, extra)], mode="edge")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@njit(cache=True)
def _flow_durations(copies, jobs, servers, heaps, queues, out):
    num_copies, num_servers = servers.shape
    for b in range(num_copies):
        entry = 0
        for j in range(num_servers):
            server = servers[b, j]
            for i in range(server.running + server.waiting):
                if i < server.running:
                    job = jobs[b, heaps[b, j, i].job]
                else:
                    place = server.head + i - server.running
                    job = jobs[b, queues[b, j, place % queues.shape[2]]]
                out[b, entry].pair = job.balancer * num_servers + j
                out[b, entry].value_s = copies[b].clock_s - job.arrival_s
                out[b, entry].time_s = copies[b].clock_s
                out[b, entry].work_s = job.work_s
                entry += 1
