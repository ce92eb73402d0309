"""Sends all requests to the heuristic as soon as the policy's do worse, and tries again later.

    guard = Guard(Limits())
    guard.share(0.95)                                           # of requests, the policy's for now
    guard.add(POLICY, e2e_s=0.4, failed=False, decided_s=...)   # what came of one

Compared are the shares of requests that failed, and the times that requests took: at most four
times what the heuristic's took lately, which is also what a failed one counts as, in units of that.
A pair is closed as soon as both sides have an outcome; one that has several counts with their mean.
`evidence` says what the errors are; each of the two comparisons has half of them.

After an alarm the policy gets nothing for `backoff_s`, then at most `retry_share` until it has come
through `probation_pairs`. Each alarm before that doubles the back-off, up to `longest_backoff_s`.
Only requests that were decided on since then count.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from marlserve.envs import checks
from marlserve.serving.decisions.evidence import Evidence

POLICY, HEURISTIC = "policy", "heuristic"  # the arms
_TYPICAL_OF = 20  # outcomes of the heuristic that tell what is typical
_FORGETS = 0.01  # weight of a new one
_LONGEST = 4.0  # of what is typical


@dataclass(frozen=True)
class Limits:
    """What the guard allows.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    failures_margin: float = 0.01  # more failures than the heuristic by this share are no alarm
    time_margin: float = 0.02  # and more time by this share of four typical ones
    false_alarm_every: float = 20_000.0  # pairs, on average, of a policy that is within both
    backoff_s: float = 60.0
    longest_backoff_s: float = 3600.0
    retry_share: float = 0.1
    probation_pairs: int = 1_000

    def __post_init__(self) -> None:
        checks.number(self, "failures_margin", 0.0, 0.99)
        checks.number(self, "time_margin", 0.0, 0.99)
        checks.number(self, "false_alarm_every", 10.0, 1e12)
        checks.number(self, "backoff_s", 0.0, 1e7)
        checks.number(self, "longest_backoff_s", self.backoff_s, 1e7)
        checks.number(self, "retry_share", 0.0, 1.0)
        checks.whole(self, "probation_pairs", 1)


class Guard:
    """Watches both arms.

    Attributes:
        alarms: so far.
        why: what the latest one was about, "failures" or "time"; "" before.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.limits, self._clock = limits, clock
        self.alarms, self.why = 0, ""
        self._until_s = 0.0  # when the policy may try again
        self._backoff_s = limits.backoff_s
        self._typical_s, self._typical_of = 0.0, 0
        self._on_probation = False
        self._trial = _Trial(limits, clock(), longest_s=0.0)

    @property
    def state(self) -> str:
        """ "trusted", "tripped" or "probation"."""
        if self._clock() < self._until_s:
            return "tripped"
        return "probation" if self._on_probation else "trusted"

    @property
    def evidence(self) -> float:
        """Against the policy, as a share of what is an alarm."""
        found = self._trial.evidence.values()
        return max(each.wealth / each.false_alarm_every for each in found)

    def share(self, wanted: float) -> float:
        """What share of requests the policy may have, if it is to have the wanted one."""
        state = self.state
        if state == "trusted":
            return wanted
        return 0.0 if state == "tripped" else min(wanted, self.limits.retry_share)

    def add(self, arm: str, e2e_s: float, failed: bool, decided_s: float) -> bool:
        """What came of a request of one arm; true if that is an alarm.

        Args:
            e2e_s: how long it took; of a failed one it does not matter.
            decided_s: when it was decided on, by the clock.
        """
        if arm == HEURISTIC and not failed:
            self._typical_of += 1
            weight = max(1.0 / self._typical_of, _FORGETS)
            self._typical_s += weight * (e2e_s - self._typical_s)
        if self.state == "tripped" or decided_s < self._trial.since_s:
            return False
        why = self._trial.add(arm, e2e_s, failed, self._longest_s())
        if why:
            self.alarms, self.why = self.alarms + 1, why
            self._until_s = self._clock() + self._backoff_s
            self._backoff_s = min(2.0 * self._backoff_s, self.limits.longest_backoff_s)
            self._on_probation = True
            self._trial = _Trial(self.limits, self._until_s, self._longest_s())
        elif self._on_probation and self._trial.pairs >= self.limits.probation_pairs:
            self._on_probation, self._backoff_s = False, self.limits.backoff_s
        return bool(why)

    def _longest_s(self) -> float:
        """What a request counts as taking at most; 0: that is not known yet."""
        return _LONGEST * self._typical_s if self._typical_of >= _TYPICAL_OF else 0.0


class _Trial:
    """Both arms since a moment.

    Attributes:
        pairs: of failures, so far.
    """

    def __init__(self, limits: Limits, since_s: float, longest_s: float):
        each = 2.0 * limits.false_alarm_every
        self.since_s, self.pairs = since_s, 0
        self.evidence = {
            "failures": Evidence(limits.failures_margin, each),
            "time": Evidence(limits.time_margin, each),
        }
        self._sides = {name: {POLICY: _Mean(), HEURISTIC: _Mean()} for name in self.evidence}
        self._longest_s = longest_s  # of the pair that is open: its sides have one measure

    def add(self, arm: str, e2e_s: float, failed: bool, longest_s: float) -> str:
        """One outcome; what the alarm is about, if it is one.

        Args:
            longest_s: for the next pair; 0: times are not compared yet.
        """
        self._sides["failures"][arm].add(float(failed))
        if self._longest_s > 0.0:
            cost = 1.0 if failed else min(e2e_s / self._longest_s, 1.0)
            self._sides["time"][arm].add(cost)
        else:
            self._longest_s = longest_s
        if self._close("failures"):
            self.pairs += 1
        if self._close("time"):
            self._longest_s = longest_s
        return next((name for name, found in self.evidence.items() if found.is_alarm), "")

    def _close(self, name: str) -> bool:
        """Compare, if there is something of both arms."""
        ours, theirs = self._sides[name][POLICY], self._sides[name][HEURISTIC]
        if not (ours.count and theirs.count):
            return False
        self.evidence[name].add(ours.taken() - theirs.taken())
        return True


class _Mean:
    """Of a side of a pair, which may wait long for the other one."""

    def __init__(self) -> None:
        self.count, self._sum = 0, 0.0

    def add(self, value: float) -> None:
        self.count, self._sum = self.count + 1, self._sum + value

    def taken(self) -> float:
        """The mean, and all begins anew."""
        mean = self._sum / self.count
        self.count, self._sum = 0, 0.0
        return mean
