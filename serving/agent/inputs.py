"""What is measured when a request does not say: loads from Redis, the rest from Prometheus.

A thread asks once a second; a decision reads what it has. A number that was not told, or that is
none (as a rate over no requests is NaN), stays what it was for `FRESH_S`, and is unknown then. So
neither a server that is away nor one that hangs is ever waited for.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from math import isfinite
from urllib.parse import urlencode
from urllib.request import urlopen

import redis

from marlserve.serving.experience.stream import client
from marlserve.serving.replica_state import MOST

FRESH_S = 10.0
_EVERY_S, _TIMEOUT_S, _MOST_BYTES = 1.0, 1.0, 1 << 20
_LOADS, _QUEUE = "llm_load_{}", "job:llm_in"  # the keys of the gateway
_ALL = "sum(rate(api_gateway_queries_total[1m]))"
QUERIES = {
    "latency_s": "sum(rate(api_gateway_query_latency_seconds_sum[1m]))"
    " / sum(rate(api_gateway_query_latency_seconds_count[1m]))",
    "rps": _ALL,
    "success_rate": f'sum(rate(api_gateway_queries_total{{status="success"}}[1m])) / {_ALL}',
}
_NO_ANSWER = (OSError, HTTPException)
_log = logging.getLogger(__name__)


class Inputs:
    """Measures until `close`; with neither address, nothing is known.

    Attributes:
        gaps: how often each number was not told.
    """

    def __init__(
        self,
        num_replicas: int,
        redis_url: str = "",
        prometheus_url: str = "",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.gaps: Counter[str] = Counter()
        self._keys = [_LOADS.format(i) for i in range(num_replicas)]
        self._prometheus_url, self._clock = prometheus_url, clock
        self._redis = client(redis_url) if redis_url else None
        self._found: dict[str, tuple[float, object]] = {}  # {name: when, value}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if redis_url or prometheus_url:
            self._thread = threading.Thread(target=self._measure, name="inputs", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._redis is not None:
            self._redis.close()

    def loads(self) -> list[float] | None:
        """Of each replica; None if they are unknown."""
        found = self._fresh("loads")
        return found if isinstance(found, list) else None

    def rest(self) -> dict[str, float] | None:
        """Queue depth, and the numbers of QUERIES; None unless all are known."""
        found = {name: self._fresh(name) for name in ("queue_depth", *QUERIES)}
        known = {name: value for name, value in found.items() if isinstance(value, float)}
        return known if len(known) == len(found) else None

    def _fresh(self, name: str) -> object:
        when_s, value = self._found.get(name, (0.0, None))
        return value if self._clock() - when_s <= FRESH_S else None

    def _measure(self) -> None:
        while True:
            self.measure()
            if self._closing.wait(_EVERY_S):
                break

    def measure(self) -> None:
        """Ask for all of it."""
        if self._redis is not None:
            try:
                said = self._redis.mget(self._keys)  # one that is not there had no request yet
                self._keep("loads", [_checked(x or 0.0, MOST) for x in said])
                self._keep("queue_depth", _checked(self._redis.llen(_QUEUE), MOST))
            except (redis.RedisError, TypeError, ValueError) as error:
                self._miss("loads", error)
        if self._prometheus_url:
            for name, query in QUERIES.items():
                most = 1.0 if name == "success_rate" else MOST
                try:
                    self._keep(name, _checked(self._asked(query), most))
                except (*_NO_ANSWER, KeyError, IndexError, TypeError, ValueError) as error:
                    self._miss(name, error)

    def _asked(self, query: str) -> object:
        """The value of an instant query."""
        url = f"{self._prometheus_url}/api/v1/query?{urlencode({'query': query})}"
        with urlopen(url, timeout=_TIMEOUT_S) as response:
            return json.loads(response.read(_MOST_BYTES))["data"]["result"][0]["value"][1]

    def _keep(self, name: str, value: object) -> None:
        self._found[name] = self._clock(), value

    def _miss(self, name: str, error: Exception) -> None:
        self.gaps[name] += 1
        _log.debug("%s is not told: %r", name, error)


def _checked(value: object, most: float) -> float:
    """A number from 0 to `most`."""
    number = float(value)  # type: ignore[arg-type]
    if not (isfinite(number) and 0.0 <= number <= most):
        raise ValueError(f"{number} is not from 0 to {most:g}")
    return number
