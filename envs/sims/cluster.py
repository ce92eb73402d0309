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
argmin_j (q_ij + 1) / w_ij, as in Yao et al. 2022 (arXiv 2201.11727); least connections, the same
but that servers with q_ij = 0 come first whatever their weights, as HAProxy's `balance leastconn`;
weighted random choice; round robin; power of two choices (Mitzenmacher 2001) over q_ij; and,
knowing what no balancer knows, shortest expected delay over the flows of all balancers. With equal
weights the first and the last are the local and the true join-the-shortest-queue. Of tied servers
the first one from a place of the job's own drawing takes it.

Arrivals are given as the clock goes on, some seconds at a time, and memory follows the jobs in the
system. Everything is deterministic given the arrivals. With exponential work and one core a server
is M/M/1; the tests hold the simulator to such closed forms.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from marlserve.envs.sims import cluster_arrays as has
from marlserve.envs.sims import cluster_kernel as kernel

DISPATCH = {
    "shortest_expected_delay": has.SHORTEST_EXPECTED_DELAY,
    "least_connections": has.LEAST_CONNECTIONS,
    "weighted_random": has.WEIGHTED_RANDOM,
    "round_robin": has.ROUND_ROBIN,
    "power_of_two": has.POWER_OF_TWO,
    "global_shortest_expected_delay": has.GLOBAL_DELAY,
}


class Cluster:
    """B copies of one cluster, empty at first.

    Public arrays: `servers` [B, M], `balancers` [B, K] and `copies` [B] with the fields of
    `cluster_arrays.SERVER`, `BALANCER` and `COPY`.

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
        cores: Sequence[float] | np.ndarray,
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
        self.copies = np.zeros(b, has.COPY)
        self.servers = np.zeros((b, m), has.SERVER)
        self.servers["cores"] = cores
        self.balancers = np.zeros((b, k), has.BALANCER)
        self._pairs = np.zeros((b, k, m), has.PAIR)
        self._rules = has.Rules(
            DISPATCH[dispatch],
            max_running or 0,
            -1 if max_backlog is None else max_backlog,
            requeue,
        )
        # Whatever stands behind the last arrival, or the last change, never comes.
        self._arrivals = np.full((b, 1), np.array((np.inf, 0, 0, 0), has.ARRIVAL))
        self._changes = np.full((b, 1), np.array((np.inf, 0, 0), has.CHANGE))
        self._pool = np.zeros((b, 32), has.JOB)
        self._log = np.zeros((b, 64), has.LOG)
        self._trees = np.full((b, 2 + k, 2 << (m - 1).bit_length()), np.inf)
        self._status = np.zeros(b, np.int64)
        for copy in range(b):
            self.reset(copy)

    @property
    def ongoing(self) -> np.ndarray:
        """Each balancer's own flows in progress, [B, K, M]."""
        return self._pairs["flows"]

    def reset(
        self,
        copy: int,
        speeds: Sequence[float] | np.ndarray | None = None,
        changes: Sequence[tuple[float, int, float]] | np.ndarray = (),
        clock_s: float = 0.0,
    ) -> None:
        """Empty one copy, whose arrivals are still to be added, and set its clock.

        Args:
            copy: its index in the batch.
            speeds: speed of every server at the start, [M]; 1 by default.
            changes: (time_s, server, speed), sorted by time.
            clock_s: where its time begins.

        Raises:
            ValueError: for values out of these bounds, or times before `clock_s`.
        """
        num_servers = self.shape[2]
        speeds = np.ones(num_servers) if speeds is None else np.asarray(speeds, float)
        changes = np.asarray(changes, float).reshape(-1, 3)
        _require(np.isfinite(clock_s), f"clock_s is {clock_s}; it must be finite")
        _require(
            speeds.shape == (num_servers,) and np.all(np.isfinite(speeds) & (speeds >= 0)),
            f"speeds must be {num_servers} finite numbers >= 0, not {speeds.tolist()}",
        )
        _require(
            np.all(np.isfinite(changes))
            and np.all(np.diff(changes[:, 0], prepend=clock_s) >= 0)
            and np.all(changes[:, 2] >= 0)
            and np.all((changes[:, 1] >= 0) & (changes[:, 1] < num_servers)),
            f"changes must be (time_s >= {clock_s} sorted, server index, speed >= 0)",
        )
        self._changes = _fit(self._changes, len(changes) + 1)
        self._changes[copy] = self._changes[copy, -1]
        self._changes["time_s"][copy] = np.inf
        for column, values in zip(("time_s", "server", "speed"), changes.T, strict=True):
            self._changes[column][copy, : len(values)] = values
        self._arrivals["time_s"][copy] = np.inf
        servers, cores = self.servers[copy], self.servers["cores"][copy].copy()
        servers[:] = 0
        servers["cores"], servers["speed"], servers["updated_s"] = cores, speeds, clock_s
        self._trees[copy] = np.inf
        self.balancers[copy] = 0
        self.balancers["updated_s"][copy] = clock_s
        self._pairs["flows"][copy] = 0
        self.copies[copy] = 0
        self.copies["clock_s"][copy], self.copies["free"][copy] = clock_s, -1

    def add(
        self,
        copy: int,
        time_s: np.ndarray,
        work_s: np.ndarray,
        balancer: np.ndarray,
        uniform: np.ndarray,
    ) -> None:
        """Give one copy the next jobs to come, after those that it has.

        Args:
            copy: its index in the batch.
            time_s: arrival times, sorted, none gone by, [J].
            work_s: work of each job in seconds on one core of speed 1, >= 0, [J].
            balancer: which balancer receives it, in [0, K), [J].
            uniform: its own random draw in [0, 1), for random rules and for ties, [J].

        Raises:
            ValueError: for arrays of unequal length or values out of these bounds.
        """
        state, num_balancers = self.copies[copy], self.shape[1]
        time_s, work_s, uniform = (np.asarray(x, float) for x in (time_s, work_s, uniform))
        balancer = np.asarray(balancer)
        if not len(time_s) == len(work_s) == len(balancer) == len(uniform):
            raise ValueError("time_s, work_s, balancer and uniform must have equal lengths")
        rest = self._arrivals[copy, state["next_arrival"] :]
        rest = rest[np.isfinite(rest["time_s"])]
        least_s = rest["time_s"][-1] if len(rest) else state["clock_s"]
        _require(np.all(np.isfinite(time_s)), "time_s must be finite")
        _require(np.all(time_s[:1] >= least_s), f"time_s must be >= {least_s}")
        _require(np.all(np.diff(time_s) >= 0), "time_s must be sorted")
        _require(np.all(np.isfinite(work_s) & (work_s >= 0)), "work_s must be finite and >= 0")
        _require(np.all((uniform >= 0) & (uniform < 1)), "uniform must lie in [0, 1)")
        _require(
            np.all((balancer >= 0) & (balancer < num_balancers)),
            f"balancer must lie in [0, {num_balancers})",
        )
        new = np.empty(len(rest) + len(time_s), has.ARRIVAL)
        new[: len(rest)] = rest
        columns = {"time_s": time_s, "work_s": work_s, "uniform": uniform, "balancer": balancer}
        for column, values in columns.items():
            new[column][len(rest) :] = values
        self._arrivals = _fit(self._arrivals, len(new) + 1)
        self._arrivals[copy, : len(new)] = new
        self._arrivals["time_s"][copy, len(new) :] = np.inf
        state["next_arrival"] = 0

    def advance(self, weights: np.ndarray, until_s: float | np.ndarray) -> None:
        """Play all copies up to `until_s` ([B] or one time) with weights [B, K, M] in force.

        Raises:
            ValueError: for weights of another shape, negative or not finite, or a time gone by.
        """
        weights = np.asarray(weights, float)
        if weights.shape != self.shape or not np.all(np.isfinite(weights) & (weights >= 0)):
            raise ValueError(f"weights must be finite and >= 0, of shape {self.shape}")
        until_s = np.broadcast_to(np.asarray(until_s, float), (self.shape[0],))
        if not np.all(np.isfinite(until_s) & (until_s >= self.copies["clock_s"])):
            raise ValueError(f"until_s is {until_s.tolist()}; it must be finite and not gone by")
        self._pairs["weight"] = weights
        self.copies["log_length"] = 0
        while True:
            arrays = (
                *(self.copies, self._arrivals, self._changes, self._log),
                *(self.servers, self.balancers, self._pairs, self._pool, self._trees),
            )
            kernel.advance(until_s, self._rules, arrays, self._status)
            if not self._status.any():
                return
            if np.any(self._status == has.NEEDS_POOL):
                self._pool = _fit(self._pool, 2 * self._pool.shape[1])
            if np.any(self._status == has.NEEDS_LOG):
                self._log = _fit(self._log, 2 * self._log.shape[1])

    def completions(self) -> tuple[np.ndarray, np.ndarray]:
        """What completed during the last `advance`: lengths [B] and `LOG` [B, >= length]."""
        return self.copies["log_length"].copy(), self._log

    def flow_durations(self) -> tuple[np.ndarray, np.ndarray]:
        """How long every flow in the system has been there so far, in the form of `completions`."""
        flows = np.sum(self.servers["running"] + self.servers["waiting"], axis=-1)
        durations = np.zeros((len(flows), max(flows.max(), 1)), has.LOG)
        _flow_durations(self.copies, self._pool, self.shape[2], durations)
        return flows, durations


def _fit(array: np.ndarray, width: int) -> np.ndarray:
    """The array [B, W] with W at least `width`, filled with the last entry of each row."""
    missing = width - array.shape[1]
    return np.pad(array, [(0, 0), (0, missing)], mode="edge") if missing > 0 else array


def _require(condition: bool | np.bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@njit(cache=True)
def _flow_durations(copies, pool, num_servers, out):
    for b in range(len(copies)):
        state, entry = copies[b], 0
        for place in range(state.used):
            job = pool[b, place]
            if job.server >= 0:
                flow = out[b, entry]
                flow.pair, flow.number = job.balancer * num_servers + job.server, job.number
                flow.value_s, flow.time_s = state.clock_s - job.arrival_s, state.clock_s
                flow.work_s = job.work_s
                entry += 1
