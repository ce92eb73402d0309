"""One step after another: look, observe, choose, apply.

    controller = Controller(plane, sight, chooser, policies, metrics)
    controller.run(stopped)              # until `stopped` says so; then safe weights

A balancer that does not answer changes nothing: the next step looks again, and applies again.
"""

import logging
import time
from collections.abc import Callable

import numpy as np

from marlserve.envs.load_balance.observation import largest_weight
from marlserve.serving.controller.chooser import Chooser
from marlserve.serving.controller.data_plane import DataPlane, Seen, Summary, Unreachable
from marlserve.serving.controller.metrics import Metrics
from marlserve.serving.controller.player import Policies
from marlserve.serving.controller.sight import Sight

_log = logging.getLogger(__name__)


class Controller:
    """Of one balancer.

    Attributes:
        weights: in force, as far as is known, [M].
    """

    def __init__(
        self,
        plane: DataPlane,
        sight: Sight,
        chooser: Chooser,
        policies: Policies,
        metrics: Metrics,
    ):
        self._plane, self._sight, self._chooser = plane, sight, chooser
        self._policies, self._metrics = policies, metrics
        self.weights = np.full(sight.config.num_servers, largest_weight(sight.config))
        self._is_reached = True

    def step(self) -> None:
        """Once."""
        seen, observation = self._look(), None
        if seen is not None:
            self._sight.add(seen)
            if isinstance(seen, Seen):
                self._chooser.learn(seen, time.monotonic())
            self._metrics.saw(seen, self._sight.ongoing)
            observation = self._sight.observation(self.weights)
        chosen = self._chooser.choose(observation, self._policies.player, time.time())
        self._metrics.chose(chosen)
        self.apply(chosen.weights)
        guard, has_policy = self._chooser.guard, self._policies.player is not None
        self._metrics.state(guard, self._plane.lost, has_policy, self._policies.refused)

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Every `Sight.step_s`; what is due while a step lasts is left out.

        Args:
            stopped: waits for so many seconds, or less if it says True: the end.
        """
        step_s, due_s = self._sight.step_s, time.monotonic()
        while not stopped(max(due_s - time.monotonic(), 0.0)):
            begin_s = time.monotonic()
            self.step()
            end_s = time.monotonic()
            late = max(int((end_s - due_s) / step_s), 0)
            self._metrics.stepped(end_s - begin_s, late)
            due_s += (late + 1) * step_s
        if self.apply(self._chooser.safe()):
            _log.info("leaves weights %s", self.weights.tolist())

    def apply(self, weights: np.ndarray) -> bool:
        """Whether they are in force now."""
        try:
            self._plane.apply(weights)
        except Unreachable as error:
            self._failed("apply", error)
            return False
        self.weights = weights
        self._metrics.applied(weights)
        if not self._is_reached:
            _log.warning("the balancer answers again")
        self._is_reached = True
        return True

    def _look(self) -> Seen | Summary | None:
        try:
            return self._plane.look()
        except Unreachable as error:
            self._failed("look", error)
            return None

    def _failed(self, what: str, error: Unreachable) -> None:
        self._metrics.failed(what)
        if self._is_reached:  # said once
            _log.warning("%s", error)
        self._is_reached = False
