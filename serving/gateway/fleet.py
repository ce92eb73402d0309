"""All replicas of a gateway, as its decisions see them; they come and go while it runs.

    fleet = Fleet(("http://127.0.0.1:8001", "http://127.0.0.1:8002"))
    seen = fleet.measured(prompt, session, now_s)             # Measured, [R]
    flight = fleet.sent(prompt, session, replica, matched_tokens, now_s)

The order of replicas is that of actions. One that is removed drains first: it gets nothing more,
and goes once nothing is under way there.
"""

from collections import OrderedDict
from operator import attrgetter

import numpy as np

from marlserve.envs.replica_routing.observation import Measured
from marlserve.serving.gateway import prefix_index
from marlserve.serving.gateway.prompts import Prompt
from marlserve.serving.gateway.replica import Flight, Replica

MOST_REPLICAS = 1024
_NAMES = (
    *("requests", "unanswered", "prompt_tokens", "generated_tokens", "new_tokens"),
    *("ttft_s", "tpot_s", "running", "waiting", "kv_usage", "speed"),
)
_OF_REPLICA = attrgetter(*_NAMES)
_MOST_SESSIONS = 100_000  # whose latest replica is remembered


class IsThere(ValueError):
    """There is a replica of that name."""


class Fleet:
    """See the module.

    Args:
        gateway: which one of `num_gateways` this is.

    Raises:
        ValueError: for a name that comes twice.
    """

    def __init__(
        self,
        names: tuple[str, ...] = (),
        speeds: tuple[float, ...] = (),
        cache_tokens: float = 2.0**20,
        gateway: int = 0,
        num_gateways: int = 1,
    ):
        self.replicas: list[Replica] = []
        self._cache_tokens = cache_tokens
        self._gateway, self._num_gateways = gateway, num_gateways
        self._homes: OrderedDict[str, Replica] = OrderedDict()  # the oldest first
        for name, speed in zip(names, speeds or (0.0,) * len(names), strict=True):
            self.add(name, speed)

    def named(self, name: str) -> Replica | None:
        """The replica of that name."""
        return next((replica for replica in self.replicas if replica.name == name), None)

    def add(self, name: str, speed: float = 0.0) -> Replica:
        """One more, the last; one that drains goes on.

        Raises:
            IsThere: for one that is there, and does not drain.
            ValueError: for one more than 1,024.
        """
        found = self.named(name)
        if found is not None and found.is_draining:
            found.is_draining = False
            return found
        if found is not None:
            raise IsThere(f"replica {found.name} is there already")
        if len(self.replicas) >= MOST_REPLICAS:
            raise ValueError(f"there are {MOST_REPLICAS} replicas; no more are allowed")
        self.replicas.append(Replica(name, speed, self._cache_tokens))
        return self.replicas[-1]

    def drain(self, name: str) -> Replica:
        """It gets nothing more, and goes once it is idle.

        Raises:
            ValueError: if there is none of that name.
        """
        found = self.named(name)
        if found is None:
            known = [replica.name for replica in self.replicas]
            raise ValueError(f"replica is {name!r}; allowed is one of {known}")
        found.is_draining = True
        self.remove_idle()
        return found

    def remove_idle(self) -> None:
        """Those that drain, and have nothing under way."""
        for replica in [each for each in self.replicas if each.is_draining and not each.requests]:
            self.replicas.remove(replica)

    def available(self, now_s: float) -> list[bool]:
        """Which replicas may get requests, [R]."""
        return [replica.is_available(now_s) for replica in self.replicas]

    def measured(self, prompt: Prompt, session: str, now_s: float) -> Measured:
        """What decisions go by, [R]; there is one replica at least."""
        replicas = self.replicas
        rows = [(*_OF_REPLICA(each), each.is_available(now_s)) for each in replicas]
        *columns, up = np.array(rows, float).T
        home = self._homes.get(session) if session else None
        oldest_s = min(each.scraped_s for each in replicas)
        return Measured(
            **dict(zip(_NAMES, columns, strict=True)),
            scrape_age_s=np.array(min(now_s - oldest_s, 1e9)),
            up=up,
            matched_tokens=np.array(self.matched(prompt), float),
            home=np.array(replicas.index(home) if home in replicas else -1),
            request_prompt_tokens=np.array(float(prompt.tokens)),
            request_output_tokens=np.zeros(()),
            gateway=np.array(self._gateway),
        )

    def matched(self, prompt: Prompt) -> list[int]:
        """Tokens of a prompt that each replica should have, [R]."""
        return prefix_index.matched(prompt, self.replicas, self._num_gateways)

    def sent(
        self, prompt: Prompt, session: str, replica: Replica, matched_tokens: int, now_s: float
    ) -> Flight:
        """A request goes to a replica that should have so much of its prompt."""
        flight = Flight(replica, prompt.tokens, prompt.tokens - matched_tokens, now_s)
        prefix_index.sent(prompt, replica, self._num_gateways)
        if session:
            self._homes.pop(session, None)
            self._homes[session] = replica
            if len(self._homes) > _MOST_SESSIONS:
                self._homes.popitem(last=False)
        return flight
