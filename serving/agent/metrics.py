"""What the agent service tells Prometheus."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from marlserve.serving.agent.service import Service
from marlserve.serving.decisions.decision import REASONS, Decision

_SECONDS = (2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 0.1, 1.0)
_LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_CHANCES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_GUARD = ("trusted", "probation", "tripped")


class Metrics(Collector):
    """Counts as decisions are made; the rest is read when Prometheus asks."""

    def __init__(self, service: Service):
        self._registry = CollectorRegistry()
        self._decisions = dict.fromkeys(REASONS, 0)
        self._outcomes = {"success": 0, "failure": 0}
        self._seconds = _Buckets("decision_seconds", "Time to decide.", _SECONDS)
        self._chance = _Buckets("propensity", "Chance of the action.", _CHANCES)
        self._latency = _Buckets("request_seconds", "Time of requests.", _LATENCIES_S)
        self._state = _State(service)
        for each in (self, self._seconds, self._chance, self._latency, self._state):
            self._registry.register(each)

    @property
    def num_decisions(self) -> int:
        return sum(self._decisions.values())

    @property
    def num_outcomes(self) -> int:
        return sum(self._outcomes.values())

    def decided(self, decision: Decision, seconds: float) -> None:
        """One more decision."""
        self._decisions[decision.reason] += 1
        self._seconds.add(seconds)
        self._chance.add(decision.propensity)
        if decision.values is not None:
            self._state.values = decision.values

    def ended(self, success: bool, latency_s: float) -> None:
        """One more outcome."""
        self._outcomes["success" if success else "failure"] += 1
        self._latency.add(latency_s)

    def text(self) -> bytes:
        """In Prometheus's format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The counts, for the registry."""
        for name, label, counts in (
            ("decisions", "reason", self._decisions),
            ("outcomes", "result", self._outcomes),
        ):
            yield _counted(name, label, counts)


class _Buckets(Collector):
    """A histogram that one thread fills: prometheus_client's takes a lock for each of its numbers,
    which is a tenth of a decision."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...]):
        self._name, self._meaning, self._bounds = name, meaning, bounds
        self._counts, self._sum = [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        names = [*map(str, self._bounds), "+Inf"]
        upto = zip(names, accumulate(self._counts), strict=True)
        made = HistogramMetricFamily(f"rl_agent_{self._name}", self._meaning)
        made.add_metric([], list(upto), self._sum)
        yield made


class _State(Collector):
    """What is so now."""

    def __init__(self, service: Service):
        self._service = service
        self.values: list[float] | None = None  # of the latest decision

    def collect(self) -> Iterator[Metric]:
        service = self._service
        trainer, log, guard = service.trainer, service.log, service.guard
        progress, player = trainer.progress, service.decider.player
        gauges = {
            "epsilon": ("Of the trainer.", service.epsilon),
            "exploration": ("Share that may explore.", _exploring(service)),
            "replay_size": ("Transitions.", progress["buffer_size"]),
            "training_steps": ("Updates.", progress["steps_done"]),
            "trainer_up": ("Whether it takes commands.", float(trainer.is_up)),
            "log_waiting": ("Events that are not written yet.", log.num_waiting),
            "outcomes_waiting": ("Decisions without outcome.", len(service.outcomes)),
            "guard_evidence": ("As a share of an alarm.", guard.evidence),
        }
        if progress.get("loss") is not None:
            gauges["loss"] = "Of the latest training.", progress["loss"]
        if self.values is not None:
            gauges["value_min"] = "Of the policy, latest decision.", min(self.values)
            gauges["value_max"] = "Of the policy, latest decision.", max(self.values)
        if player is not None:
            age_s = time.time() - player.published_s
            gauges["policy_version"] = "That is played.", float(player.version)
            gauges["policy_age_seconds"] = "Since it was published.", age_s
        if service.delivery is not None:
            up = float(service.delivery.is_connected)
            gauges["redis_up"] = "Whether events are delivered.", up
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(f"rl_agent_{name}", meaning, value=value)
        states = GaugeMetricFamily("rl_agent_guard", "Its state is 1.", labels=["state"])
        for state in _GUARD:
            states.add_metric([state], float(guard.state == state))
        yield states
        counts = {
            "guard_alarms": ("Of the guard.", guard.alarms),
            "policies_refused": ("Not taken.", service.policies.refused),
            "outcomes_forgotten": ("Decisions too old.", service.outcomes.forgotten),
            "trainer_starts": ("Of its process.", trainer.starts),
            "log_written": ("Events.", log.written),
        }
        for name, (meaning, count) in counts.items():
            yield CounterMetricFamily(f"rl_agent_{name}", meaning, value=count)
        yield _counted("log_dropped", "why", log.dropped)
        yield _counted("input_gaps", "name", service.inputs.gaps)


def _counted(name: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"rl_agent_{name}", "So far.", labels=[label])
    for key, count in dict(counts).items():
        family.add_metric([key], count)
    return family


def _exploring(service: Service) -> float:
    settings = service.decider.settings
    return min(settings.epsilon, settings.most_epsilon)
