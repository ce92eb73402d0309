"""What is asked of replicas beside requests, again and again: whether they are well, and /metrics.

One that does not answer in time, or answers nonsense, is asked again the next time; nothing waits
for it, nor do looks at the others. What could not be told is counted.
"""

import asyncio
import logging
from collections import Counter

from marlserve.serving.gateway import engine_metrics
from marlserve.serving.gateway.address import Address, Addresses
from marlserve.serving.gateway.attempts import Attempts, clock
from marlserve.serving.gateway.replica import Replica

_TIMEOUT_S = 2.0
_MOST_BYTES = 1 << 22
_log = logging.getLogger(__name__)


class Watching:
    """Of all replicas of a gateway.

    Attributes:
        gaps: numbers that a replica did not tell, by name.
    """

    def __init__(self, attempts: Attempts, addresses: Addresses, every_s: float):
        self.gaps: Counter[str] = Counter()
        self._attempts, self._addresses, self._every_s = attempts, addresses, every_s
        self._looks: dict[Replica, asyncio.Task[None]] = {}

    async def go_on(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._every_s)
                self._begin()
        finally:
            for task in self._looks.values():
                task.cancel()

    async def look(self) -> None:
        """At all replicas, at once."""
        self._begin()
        await asyncio.gather(*self._looks.values())

    def _begin(self) -> None:
        """To look at all replicas where no look is under way."""
        fleet = self._attempts.fleet
        fleet.remove_idle()
        self._addresses.keep([replica.name for replica in fleet.replicas])
        self._looks = {each: task for each, task in self._looks.items() if not task.done()}
        for replica in fleet.replicas:
            if replica not in self._looks:
                self._looks[replica] = asyncio.create_task(self._look_at(replica))

    async def _look_at(self, replica: Replica) -> None:
        status, _ = await _asked(self._addresses[replica.name], b"/health")
        self._attempts.health.checked(replica, 200 <= status < 300)
        if not replica.is_up:
            return
        status, text = await _asked(self._addresses[replica.name], b"/metrics")
        try:
            said = engine_metrics.read(text.decode()) if status == 200 else {}
        except ValueError as error:
            _log.debug("%s: %s", replica.name, error)
            said = {}
        for name in engine_metrics.NEEDED:
            if name in said:
                setattr(replica, name, said[name])
            else:
                self.gaps[name] += 1
        if all(name in said for name in engine_metrics.NEEDED):
            replica.scraped_s = clock()
        replica.cache_tokens = said.get("cache_tokens", replica.cache_tokens)
        if queries := said.get("prefix_queries"):
            replica.prefix_hit_share = said.get("prefix_hits", 0.0) / queries


async def _asked(address: Address, target: bytes) -> tuple[int, bytes]:
    """Status and body; 0 if there is no answer."""
    connection = None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            connection, head = await address.asked("GET", target)
            return head.status, await connection.rest(_MOST_BYTES)
    except OSError as error:
        _log.debug("%s does not answer: %r", address.url, error)
        return 0, b""
    finally:
        if connection is not None:
            address.give_back(connection)
