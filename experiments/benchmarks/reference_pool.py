"""The model of `envs.sims.serving_pool` in plain Python, in ticks of 50 ms, as its source has it.

In each tick at most one request arrives; then those that waited too long give up; then those that
are done leave, and make room for those that wait. So times are those of the compiled pool to a tick
or two. The reward is "source" of `envs.kv_cache.rewards`. There are no observations, no idle power
and no records of demand and price: `benchmark.py` puts its speed beside that of all of the problem.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import count

from marlserve.envs.kv_cache import rewards
from marlserve.envs.sims.serving_pool import DENY, J_PER_MWH

TICKS_PER_S = 20
_MS_PER_TICK = 1000 // TICKS_PER_S


class Request:
    """One request, with what it will take."""

    __slots__ = ("arrival_ms", "cost_usd", "energy_j", "score", "service_ms")

    def __init__(
        self, arrival_ms: int, service_ms: int, energy_j: float, score: float, cost_usd: float
    ):
        self.arrival_ms, self.service_ms = arrival_ms, service_ms
        self.energy_j, self.score, self.cost_usd = energy_j, score, cost_usd


class Pool:
    """One copy; arguments as for `ServingPool`.

    Attributes:
        completed, denied, failed, timed_out: requests so far.
        score, energy_j, cost_usd, wait_ms: sums over completed requests; the cost is at the price
            of the arrival.
        busy, waiting: requests now.
    """

    def __init__(
        self,
        num_servers: int,
        service_s: Sequence[Sequence[float]],
        energy_j: Sequence[Sequence[float]],
        score: Sequence[Sequence[float]],
        *,
        max_waiting: int,
        timeout_s: float,
        pue: float = 1.0,
    ):
        self._profile = [
            [(round(1000 * t), e, s) for t, e, s in zip(*rows, strict=True)]
            for rows in zip(service_s, energy_j, score, strict=True)
        ]
        self.num_servers, self.max_waiting = num_servers, max_waiting
        self.timeout_ms, self._usd_per_j_and_price = round(1000 * timeout_s), pue / J_PER_MWH
        self.now_ms = 0
        self._running: list[tuple[int, int, Request]] = []  # heap: (done_ms, number, request)
        self._queue: deque[Request] = deque()
        self._numbers = count()
        self.completed = self.denied = self.failed = self.timed_out = 0
        self.score = self.energy_j = self.cost_usd = 0.0
        self.wait_ms = 0

    @property
    def busy(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def step(self, action: int, usd_per_mwh: float, prompts: Iterable[int | None]) -> float:
        """Play one step: its reward, the mean over requests that ended; 0 if none did.

        Args:
            action: the configuration of what arrives, or `DENY`.
            usd_per_mwh: the price.
            prompts: for each tick of the step, the prompt that arrives, or None.
        """
        total, ended = 0.0, 0
        for prompt in prompts:
            if prompt is not None:
                if action == DENY:
                    self.denied += 1
                    total += rewards.DENIAL
                    ended += 1
                elif not self._arrive(action, prompt, usd_per_mwh):
                    self.failed += 1
                    ended += 1
            while self._queue and self.now_ms - self._queue[0].arrival_ms > self.timeout_ms:
                self._queue.popleft()
                self.timed_out += 1
                ended += 1
            while self._running and self._running[0][0] <= self.now_ms:
                total += self._complete()
                ended += 1
            self.now_ms += _MS_PER_TICK
        return total / ended if ended else 0.0

    def _arrive(self, config: int, prompt: int, usd_per_mwh: float) -> bool:
        """Begin or wait; whether there was room."""
        service_ms, energy_j, score = self._profile[config][prompt]
        cost_usd = self._usd_per_j_and_price * energy_j * usd_per_mwh
        request = Request(self.now_ms, service_ms, energy_j, score, cost_usd)
        if len(self._running) < self.num_servers:
            self._begin(request)
        elif len(self._queue) < self.max_waiting:
            self._queue.append(request)
        else:
            return False
        return True

    def _begin(self, request: Request) -> None:
        self.wait_ms += self.now_ms - request.arrival_ms
        done_ms = self.now_ms + request.service_ms
        heappush(self._running, (done_ms, next(self._numbers), request))

    def _complete(self) -> float:
        """What the request that is done first adds to the reward."""
        _, _, request = heappop(self._running)
        self.completed += 1
        self.score += request.score
        self.energy_j += request.energy_j
        self.cost_usd += request.cost_usd
        if self._queue:
            self._begin(self._queue.popleft())
        capped = min(request.cost_usd / rewards.COST_CAP_USD, 1.0)
        return (
            rewards.SUCCESS + rewards.SCORE_WEIGHT * request.score - rewards.ENERGY_WEIGHT * capped
        )
