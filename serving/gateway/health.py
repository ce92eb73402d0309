"""Which replicas get requests: those that answer, and that do not fail or lag behind the others.

- A replica is down after `_CHECKS` health checks in a row that failed, and up after one that did
  not; when it comes back its cache counts as empty.
- It is ejected for a while after `_FAILURES` requests in a row that failed, and when it is
  `_SLOW_TIMES` slower than the median of the others, and slower than `_SLOW_S`: alive, but of no
  use. Speeds that policies are told are taken into account. Each time in a row it is twice as long,
  up to `_LONGEST_S`.
- At most half of the replicas are ejected at a time, or all of the load would fall on the rest.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from statistics import median

from marlserve.serving.gateway.replica import Replica

_CHECKS, _FAILURES = 3, 5
_SLOW_TIMES, _SLOW_S, _SLOW_OF = 8.0, 0.05, 20  # by means of so many answers at least
_EJECTION_S, _LONGEST_S = 10.0, 300.0
_log = logging.getLogger(__name__)


class Health:
    """Of all replicas of a list, which may change.

    Attributes:
        ejected: how often, by why.
    """

    def __init__(self, replicas: Sequence[Replica]):
        self.ejected: Counter[str] = Counter()
        self._replicas = replicas

    def checked(self, replica: Replica, is_well: bool) -> None:
        """A health check came through, or not."""
        replica.checks = 0 if is_well else replica.checks + 1
        if is_well and not replica.is_up:
            replica.is_up = True
            replica.forget()
            _log.info("%s is up", replica.name)
        elif replica.checks >= _CHECKS and replica.is_up:
            replica.is_up = False
            _log.warning("%s is down", replica.name)

    def succeeded(self, replica: Replica, now_s: float) -> None:
        """A request came through."""
        replica.failures = 0
        if self._lags(replica):
            self._eject(replica, "slow", now_s)
        elif now_s > replica.ejected_until_s + _LONGEST_S:
            replica.ejections = 0

    def failed(self, replica: Replica, now_s: float) -> None:
        """A request did not, and the replica is why."""
        replica.failures += 1
        if replica.failures >= _FAILURES:
            self._eject(replica, "failures", now_s)

    def _lags(self, replica: Replica) -> bool:
        return any(
            getattr(replica, count) >= _SLOW_OF and self._is_slow(replica, name, count)
            for name, count in (("ttft_s", "answers"), ("tpot_s", "completed"))
        )

    def _is_slow(self, replica: Replica, name: str, count: str) -> bool:
        others = [
            getattr(other, name) * (other.speed or 1.0)
            for other in self._replicas
            if other is not replica and getattr(other, count) >= _SLOW_OF
        ]
        own = getattr(replica, name) * (replica.speed or 1.0)
        return bool(others) and own > max(_SLOW_TIMES * median(others), _SLOW_S)

    def _eject(self, replica: Replica, why: str, now_s: float) -> None:
        out = sum(now_s < other.ejected_until_s for other in self._replicas)
        if now_s < replica.ejected_until_s or 2 * (out + 1) > len(self._replicas):
            return
        for_s = min(_EJECTION_S * 2**replica.ejections, _LONGEST_S)
        replica.ejected_until_s = now_s + for_s
        replica.ejections += 1
        replica.failures = 0
        replica.forget()
        self.ejected[why] += 1
        _log.warning("%s is ejected for %g s: %s", replica.name, for_s, why)
