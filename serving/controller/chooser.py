"""Who chooses the weights, and why: the policy, or what does without.

    chooser = Chooser(Mode("policy"), Guard(Limits()), Heuristic("sed", config))
    chosen = chooser.choose(observation, player, now_s)

Time is cut into stretches, the same ones for all balancers; a stretch is the policy's or the
heuristic's as a session is in `decisions.modes`, and the guard compares what became of the flows
of both. Reasons are those of `decisions.decision`. Where the policy was to choose and cannot, the
weights are the heuristic's, or with fallback="last" the last ones of the policy.
"""

import logging
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

import numpy as np

from marlserve.envs import checks
from marlserve.serving.controller.data_plane import Flow, Seen
from marlserve.serving.controller.heuristics import Heuristic
from marlserve.serving.controller.player import Player
from marlserve.serving.decisions.guard import HEURISTIC, POLICY, Guard
from marlserve.serving.decisions.modes import Mode

FALLBACKS = ("heuristic", "last")
_log = logging.getLogger(__name__)


class Chosen(NamedTuple):
    """Weights, and where they are from.

    Attributes:
        weights: to be in force, [M].
        arm: whose stretch it is.
        reason: who chose, and why.
        of_policy: what the policy would set or sets, [M]; None if it was not asked or cannot tell.
    """

    weights: np.ndarray
    arm: str
    reason: str
    of_policy: np.ndarray | None


class Chooser:
    """See the module.

    Args:
        fallback: one of FALLBACKS.
        stretch_s: how long one of them chooses.
        oldest_policy_s: one that was published earlier does not choose.

    Raises:
        ValueError: for bad values of these.
    """

    def __init__(
        self,
        mode: Mode,
        guard: Guard,
        heuristic: Heuristic,
        fallback: str = "heuristic",
        stretch_s: float = 10.0,
        oldest_policy_s: float = inf,
    ):
        self.mode, self.guard, self._heuristic = mode, guard, heuristic
        self.fallback, self.stretch_s, self.oldest_policy_s = fallback, stretch_s, oldest_policy_s
        checks.choice(self, "fallback", FALLBACKS)
        checks.number(self, "stretch_s", 0.1, 1e6)
        checks.number(self, "oldest_policy_s", 0.0, inf)
        self._last: np.ndarray | None = None  # of the policy
        self._arm, self._since_s = HEURISTIC, 0.0
        self._complained_of: Player | None = None

    def choose(self, observation: np.ndarray | None, player: Player | None, now_s: float) -> Chosen:
        """The weights from now_s, seconds since 1970, on; observation None: nothing is known."""
        arm, reason = self._arm_at(now_s)
        of_policy, trouble = None, ""
        if arm == POLICY or self.mode.name == "shadow":
            of_policy, trouble = self._asked(observation, player, now_s)
        if arm == POLICY and of_policy is not None:
            weights = self._last = of_policy
        elif arm == POLICY:
            weights, reason = self.safe(observation), trouble
        else:
            weights = self._heuristic(observation)
        if arm != self._arm:
            self._arm, self._since_s = arm, now_s
        return Chosen(weights, arm, reason, of_policy)

    def safe(self, observation: np.ndarray | None = None) -> np.ndarray:
        """Weights that need no policy, [M]."""
        if self.fallback == "last" and self._last is not None:
            return self._last
        return self._heuristic(observation)

    def learn(self, seen: Seen, clock_s: float) -> None:
        """Tell the guard what became of flows that began since the present arm chooses.

        Args:
            clock_s: on the guard's clock, when it is `seen.now_s`.
        """
        for flows, failed in ((seen.completed, False), (seen.failed, True)):
            for flow in self._own(flows):
                decided_s = clock_s - (seen.now_s - flow.began_s)
                if self.guard.add(self._arm, flow.duration_s, failed, decided_s):
                    _log.warning("the guard gives alarm: %s", self.guard.why)

    def _own(self, flows: Iterable[Flow]) -> Iterable[Flow]:
        return (flow for flow in flows if flow.began_s >= self._since_s)

    def _arm_at(self, now_s: float) -> tuple[str, str]:
        if not (wanted := self.mode.policy_share):
            return HEURISTIC, "mode"
        place = self.mode.place(str(int(now_s // self.stretch_s)))
        if place >= wanted:
            return HEURISTIC, "control"
        return (POLICY, POLICY) if place < self.guard.share(wanted) else (HEURISTIC, "guard")

    def _asked(
        self, observation: np.ndarray | None, player: Player | None, now_s: float
    ) -> tuple[np.ndarray | None, str]:
        """What the policy sets; else why it does not."""
        if player is None:
            return None, "no_policy"
        if now_s - player.published_s > self.oldest_policy_s:
            return None, "old_policy"
        if observation is None:
            return None, "no_input"
        if not player.in_range(observation):
            return None, "out_of_range"
        try:
            weights = player.weights(observation)
        except Exception:  # whatever it is, the balancer must go on
            if self._complained_of is not player:  # once, not four times a second
                self._complained_of = player
                _log.exception("the policy raised an error")
            return None, "error"
        good = np.isfinite(weights).all() and weights.min() >= 0.0 and weights.max() > 0.0
        return (weights, "") if good else (None, "not_finite")
