"""Decides one request after another; a heuristic answers whenever the policy does not.

    decider = Decider(Settings(mode=Mode("canary")), Guard(Limits()), new_ids())
    decider.player = Player(...)               # between any two decisions
    decision = decider.decide(question)

Never waits for anything. What a decision has, its id and the chance of its action included, is what
one needs to learn from it once its outcome is known.
"""

import logging
import time
from collections.abc import Callable, Iterator
from math import isfinite
from random import Random

import numpy as np

from marlserve.serving.decisions.decision import Decision, Settings
from marlserve.serving.decisions.guard import HEURISTIC, POLICY, Guard
from marlserve.serving.decisions.heuristics import Heuristic
from marlserve.serving.decisions.player import Player, chances
from marlserve.serving.decisions.question import Question

_FORGETS = 0.99  # what is left after a decision of the longest time that the policy took
_log = logging.getLogger(__name__)


class Decider:
    """See the module.

    Args:
        ids: of decisions, each another one.

    Attributes:
        settings: may be replaced between any two decisions.
        player: the policy, made anew for another number of replicas, if it can be; None: there is
            none.
    """

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        ids: Iterator[str],
        heuristic: Heuristic | None = None,
        seed: int | None = None,
        now: Callable[[], float] = time.time,
    ):
        self.settings, self.guard = settings, guard
        self.heuristic = Heuristic() if heuristic is None else heuristic
        self.player: Player | None = None
        self._random, self._now = Random(seed), now
        self._ids = ids
        self._slowest_s = 0.0  # of what the policy took lately
        self._complained_of = ""

    def decide(self, question: Question) -> Decision:
        """What to do with one request.

        Raises:
            ValueError: for `allowed` of another length than there are replicas.
        """
        allowed = question.allowed
        if allowed.shape != question.seen.requests.shape:
            raise ValueError(
                f"allowed has shape {allowed.shape}; expected is {question.seen.requests.shape}"
            )
        legal = allowed.tolist()
        if True not in legal:
            allowed, legal = np.ones_like(allowed), [True] * len(legal)
        mode, identity = self.settings.mode, next(self._ids)
        arm, reason = self._arm(question.session)
        values, trouble = None, ""
        if arm == POLICY or mode.name == "shadow":
            values, trouble = self._asked(question)
        player, best = self.player, -1
        if values is not None:
            epsilon = min(self.settings.epsilon, self.settings.most_epsilon)
            shares, best = chances(values, legal, epsilon, self.settings.temperature)
        if arm == HEURISTIC or values is None:
            shares = self.heuristic.probabilities(question.seen, allowed).tolist()
            reason = trouble or reason
        action = self._drawn(shares)
        return Decision(
            identity,
            self._now(),
            arm,
            reason,
            player.version if player is not None and values is not None else "",
            action,
            shares[action],
            best,
            values,
        )

    def _arm(self, session: str) -> tuple[str, str]:
        """Whose request it is, and why."""
        mode = self.settings.mode
        if not (wanted := mode.policy_share):
            return HEURISTIC, "mode"
        place = mode.place(session) if session else self._random.random()
        if place >= wanted:
            return HEURISTIC, "control"
        return (POLICY, POLICY) if place < self.guard.share(wanted) else (HEURISTIC, "guard")

    def _asked(self, question: Question) -> tuple[list[float] | None, str]:
        """What the policy thinks of each replica; else why it does not say."""
        player, observation = self.player, question.observation
        if player is None:
            return None, "no_policy"
        if self._now() - player.published_s > self.settings.oldest_policy_s:
            return None, "old_policy"
        if observation is None:
            return None, "no_input"
        if len(question.allowed) != player.num_replicas:
            fitting = player.fitting(len(question.allowed))
            if fitting is None:
                return None, "replica_count"
            self.player = player = fitting
        start_s = time.perf_counter()
        slowest_s, self._slowest_s = self._slowest_s, _FORGETS * self._slowest_s
        if question.deadline_s - start_s < slowest_s:
            return None, "deadline"
        if not player.in_range(observation):
            return None, "out_of_range"
        try:
            values = player.values(observation)
        except Exception:  # whatever it is, a request must be answered
            if self._complained_of != player.version:  # once, not with every request
                self._complained_of = player.version
                _log.exception("policy %s raised an error", player.version)
            return None, "error"
        self._slowest_s = max(time.perf_counter() - start_s, self._slowest_s)
        return (values, "") if all(map(isfinite, values)) else (None, "not_finite")

    def _drawn(self, shares: list[float]) -> int:
        """One of the replicas, by their chances."""
        left = self._random.random()
        for action, share in enumerate(shares):
            left -= share
            if left < 0.0:
                return action
        return max(range(len(shares)), key=shares.__getitem__)  # by rounding, they sum to less
