"""The model of `envs.sims.cluster`, written twice more: in plain Python, and with SimPy.

Both are slow and plain. The first has all of the model, and the compiled simulator must agree with
it job by job; the second is what one would write with a simulation library. `benchmark.py` puts
their speed beside that of the compiled one.
"""

import math
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush


class Server:
    """Processor sharing in virtual time: the work that one job would have received so far.

    `running` is a heap of (virtual time at which the job is done, job).
    """

    __slots__ = ("backlog", "cores", "running", "speed", "updated_s", "virtual")

    def __init__(self, cores: float, speed: float = 1.0):
        self.cores, self.speed = cores, speed
        self.running: list[tuple[float, int]] = []
        self.backlog: deque[int] = deque()
        self.virtual = self.updated_s = 0.0

    def update(self, now_s: float) -> None:
        """Give every running job its share of the time since the last update."""
        if self.running:
            self.virtual += (now_s - self.updated_s) * self._rate()
        self.updated_s = now_s

    def start(self, job: int, work_s: float) -> None:
        heappush(self.running, (self.virtual + work_s, job))

    def finish(self) -> int:
        """Take out the job that is done."""
        self.virtual, job = heappop(self.running)
        return job

    def next_done_s(self) -> float:
        """When the next job is done if nothing else happens; infinite if none runs."""
        if not self.running:
            self.virtual = 0.0
            return math.inf
        return self.updated_s + max(self.running[0][0] - self.virtual, 0.0) / self._rate()

    def _rate(self) -> float:
        return self.speed * min(1.0, self.cores / len(self.running))


class Balancers:
    """All balancers: their weights [K][M], their own flows [K][M], and the rule they share."""

    def __init__(self, weights: Sequence[Sequence[float]], dispatch: str, servers: list[Server]):
        self.weights = [list(map(float, row)) for row in weights]
        self.ongoing = [[0] * len(servers) for _ in self.weights]
        self.servers = servers
        self._turns = [0] * len(self.weights)
        self._choose = getattr(self, f"_{dispatch}")
        self.notice_failures()

    def notice_failures(self) -> None:
        """Pass over the servers that are down from now on."""
        up = [server.speed > 0.0 for server in self.servers]
        self._usable = [
            [weight * is_up for weight, is_up in zip(row, up, strict=True)] for row in self.weights
        ]

    def choose(self, balancer: int, uniform: float) -> int | None:
        """The server for a job; None if none may be used."""
        return self._choose(balancer, uniform, self._usable[balancer])

    def _shortest_expected_delay(self, balancer, uniform, usable):
        return _shortest(uniform, usable, self.ongoing[balancer])

    def _least_connections(self, balancer, uniform, usable):
        flows = self.ongoing[balancer]
        idle = [float(w > 0.0 and n == 0) for w, n in zip(usable, flows, strict=True)]
        return _shortest(uniform, idle if any(idle) else usable, flows)

    def _global_shortest_expected_delay(self, balancer, uniform, usable):
        return _shortest(uniform, usable, [sum(flows) for flows in zip(*self.ongoing, strict=True)])

    def _weighted_random(self, balancer, uniform, usable):
        target, chosen = sum(uniform * weight for weight in usable), None
        for j, weight in enumerate(usable):
            if weight > 0.0 and (target >= 0.0 or chosen is None):
                chosen = j
            target -= weight
        return chosen

    def _round_robin(self, balancer, uniform, usable):
        turn = self._turns[balancer]
        for j in [*range(turn, len(usable)), *range(turn)]:
            if usable[j] > 0.0:
                self._turns[balancer] = (j + 1) % len(usable)
                return j
        return None

    def _power_of_two(self, balancer, uniform, usable):
        place = uniform * len(usable)
        first = int(place)
        second = (first + 1 + int((place - first) * (len(usable) - 1))) % len(usable)
        flows = self.ongoing[balancer]
        pair = [j for j in (first, second) if usable[j] > 0.0]
        if not pair:
            return _shortest(uniform, usable, flows)
        return min(pair, key=lambda j: (flows[j] + 1) / usable[j])


def _shortest(uniform: float, usable: list[float], flows: list[int]) -> int | None:
    """argmin_j (flows_j + 1) / weight_j; of equal ones the first from a random place on."""
    first, best, chosen = int(uniform * len(usable)), math.inf, None
    for j in [*range(first, len(usable)), *range(first)]:
        if usable[j] > 0.0 and (flows[j] + 1) / usable[j] < best:
            chosen, best = j, (flows[j] + 1) / usable[j]
    return chosen


class Cluster:
    """One cluster in plain Python; arguments as for `envs.sims.cluster.Cluster` and its `load`."""

    def __init__(
        self,
        cores: Sequence[float],
        weights: Sequence[Sequence[float]],
        dispatch: str = "shortest_expected_delay",
        max_running: int | None = None,
        max_backlog: int | None = None,
        requeue: bool = True,
        speeds: Sequence[float] | None = None,
    ):
        speeds = [1.0] * len(cores) if speeds is None else speeds
        self.servers = [Server(c, s) for c, s in zip(cores, speeds, strict=True)]
        self.balancers = Balancers(weights, dispatch, self.servers)
        self.max_running = math.inf if max_running is None else max_running
        self.max_backlog = math.inf if max_backlog is None else max_backlog
        self.requeue = requeue
        self.rejected = self.lost = 0

    def play(self, time_s, work_s, balancer, uniform, changes=()) -> list[float]:
        """Latencies of all jobs, in seconds; NaN for those that never complete."""
        self._work_s, self._balancer, self._uniform = map(list, (work_s, balancer, uniform))
        self._done_s = [math.inf] * len(self.servers)
        arrivals_s, changes = [*time_s, math.inf], [*changes, (math.inf, 0, 0.0)]
        latency_s = [math.nan] * len(self._work_s)
        next_job = next_change = 0
        while True:
            done_s = min(self._done_s)
            change_s, arrival_s = changes[next_change][0], arrivals_s[next_job]
            if done_s <= change_s and done_s <= arrival_s:
                if done_s == math.inf:
                    return latency_s
                job = self._complete(self._done_s.index(done_s), done_s)
                latency_s[job] = done_s - arrivals_s[job]
            elif change_s <= arrival_s:
                self._change(*changes[next_change])
                next_change += 1
            else:
                self._dispatch(next_job, arrival_s)
                next_job += 1

    def _complete(self, j: int, now_s: float) -> int:
        server = self.servers[j]
        server.update(now_s)
        job = server.finish()
        self.balancers.ongoing[self._balancer[job]][j] -= 1
        if server.backlog:
            waiting = server.backlog.popleft()
            server.start(waiting, self._work_s[waiting])
        self._done_s[j] = server.next_done_s()
        return job

    def _dispatch(self, job: int, now_s: float) -> None:
        j = self.balancers.choose(self._balancer[job], self._uniform[job])
        if j is None:
            self.rejected += 1
            return
        server = self.servers[j]
        if len(server.running) < self.max_running:
            server.update(now_s)
            server.start(job, self._work_s[job])
            self._done_s[j] = server.next_done_s()
        elif len(server.backlog) < self.max_backlog:
            server.backlog.append(job)
        else:
            self.rejected += 1
            return
        self.balancers.ongoing[self._balancer[job]][j] += 1

    def _change(self, now_s: float, j: int, speed: float) -> None:
        server = self.servers[j]
        server.update(now_s)
        server.speed = speed
        self.balancers.notice_failures()
        victims = []
        if speed == 0.0:
            victims = [*sorted(job for _, job in server.running), *server.backlog]
            server.running.clear()
            server.backlog.clear()
        self._done_s[j] = server.next_done_s()
        for job in victims:
            self.balancers.ongoing[self._balancer[job]][j] -= 1
        for job in victims:
            if self.requeue:
                self._dispatch(job, now_s)
            else:
                self.lost += 1


def play_with_simpy(time_s, work_s, balancer, uniform, *, cores, weights) -> list[float]:
    """Latencies of all jobs under shortest expected delay, without limits or changes of speed.

    Raises:
        ImportError: without the library simpy.
    """
    try:
        import simpy
    except ImportError as error:
        raise ImportError(
            f'this row needs the library simpy; pip install "marlserve[benchmark]" ({error})'
        ) from error
    env, latency_s = simpy.Environment(), [math.nan] * len(time_s)
    servers = [Server(c) for c in cores]
    balancers = Balancers(weights, "shortest_expected_delay", servers)

    def serve(j: int):
        server = servers[j]
        while True:
            try:
                # An idle server sleeps until it is interrupted by its next job.
                wait_s = server.next_done_s() - env.now
                yield env.event() if wait_s == math.inf else env.timeout(max(wait_s, 0.0))
            except simpy.Interrupt:
                continue
            server.update(env.now)
            job = server.finish()
            balancers.ongoing[balancer[job]][j] -= 1
            latency_s[job] = env.now - time_s[job]

    def arrive():
        for job, arrival_s in enumerate(time_s):
            yield env.timeout(arrival_s - env.now)
            j = balancers.choose(balancer[job], uniform[job])
            assert j is not None  # all servers are up
            servers[j].update(env.now)
            servers[j].start(job, work_s[job])
            balancers.ongoing[balancer[job]][j] += 1
            processes[j].interrupt()

    processes = [env.process(serve(j)) for j in range(len(cores))]
    env.process(arrive())
    env.run()
    return latency_s
