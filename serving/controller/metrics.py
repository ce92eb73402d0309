"""What a controller tells Prometheus."""

from collections.abc import Mapping, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from marlserve.serving.controller.chooser import Chosen
from marlserve.serving.controller.data_plane import Seen, Summary
from marlserve.serving.decisions.decision import REASONS
from marlserve.serving.decisions.guard import Guard

_STEP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
_FLOW_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_GUARD = ("trusted", "probation", "tripped")


class Metrics:
    """Of one controller, by the names of its servers."""

    def __init__(self, servers: Sequence[str]):
        self._servers, self.registry = servers, CollectorRegistry()
        counter, gauge = self._made(Counter), self._made(Gauge)
        self._decisions = counter("decisions", "Weights chosen.", "reason")
        for reason in REASONS:
            self._decisions.labels(reason)
        self._step = self._made(Histogram, buckets=_STEP_S)("step_seconds", "Look, ask, apply.")
        self._late = counter("late_steps", "Steps that were left out for want of time.")
        self._trouble = counter("unreachable", "Looks and weights without an answer.", "what")
        self._lost = gauge("lost", "Of the data plane's log.", "why")
        self._completed = counter("completed", "Flows.", "server")
        self._failed = counter("failed", "Flows.", "server")
        self._flow = self._made(Histogram, buckets=_FLOW_S)("flow_seconds", "Of completed flows.")
        self._ongoing = gauge("ongoing", "Own flows in progress.", "server")
        self._weight = gauge("weight", "In force.", "server")
        self._asked = gauge("policy_weight", "That the policy sets, or would.", "server")
        self._has_policy = gauge("has_policy", "Whether there is one.")
        self._refused = gauge("policies_refused", "Policy files not taken.")
        self._guard = gauge("guard", "Its state is 1.", "state")
        self._alarms = gauge("guard_alarms", "Of the guard.")

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus.

        Raises:
            OSError: if the port is taken.
        """
        start_http_server(port, host, self.registry)

    def saw(self, seen: Seen | Summary, ongoing: np.ndarray) -> None:
        """One look."""
        self._each(self._ongoing, ongoing)
        if isinstance(seen, Summary):
            for name, number in zip(self._servers, seen.completed, strict=True):
                self._completed.labels(name).inc(number)
            return
        for counter, flows in ((self._completed, seen.completed), (self._failed, seen.failed)):
            for flow in flows:
                counter.labels(self._servers[flow.server] if flow.server >= 0 else "none").inc()
        for flow in seen.completed:
            self._flow.observe(flow.duration_s)

    def chose(self, chosen: Chosen) -> None:
        """One decision."""
        self._decisions.labels(chosen.reason).inc()
        if chosen.of_policy is not None:
            self._each(self._asked, chosen.of_policy)

    def applied(self, weights: np.ndarray) -> None:
        """These are in force."""
        self._each(self._weight, weights)

    def failed(self, what: str) -> None:
        """To "look", or to "apply"."""
        self._trouble.labels(what).inc()

    def stepped(self, seconds: float, late: int) -> None:
        """One step, and how many were left out before the next one."""
        self._step.observe(seconds)
        self._late.inc(late)

    def state(self, guard: Guard, lost: Mapping[str, int], has_policy: bool, refused: int) -> None:
        """What is so now."""
        for state in _GUARD:
            self._guard.labels(state).set(guard.state == state)
        self._alarms.set(guard.alarms)
        for why, number in lost.items():
            self._lost.labels(why).set(number)
        self._has_policy.set(has_policy)
        self._refused.set(refused)

    def _made(self, kind, **options):
        def make(name: str, meaning: str, *labels: str):
            return kind(f"controller_{name}", meaning, labels, registry=self.registry, **options)

        return make

    def _each(self, gauge: Gauge, values: np.ndarray) -> None:
        for name, value in zip(self._servers, values, strict=True):
            gauge.labels(name).set(value)
