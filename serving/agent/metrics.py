"""What the agent service tells Prometheus."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marlserve.serving.agent.service import Service
from marlserve.serving.decisions.decision import REASONS, Decision
from marlserve.serving.service.exposition import (
    CHANCES,
    LATENCIES_S,
    SECONDS,
    Histogram,
    counted,
    guarded,
)


class Metrics(Collector):
    """Counts as decisions are made; the rest is read when Prometheus asks."""

    def __init__(self, service: Service):
        self._registry = CollectorRegistry()
        self._decisions = dict.fromkeys(REASONS, 0)
        self._outcomes = {"success": 0, "failure": 0}
        self._seconds = Histogram("rl_agent_decision_seconds", "Time to decide.", SECONDS)
        self._chance = Histogram("rl_agent_propensity", "Chance of the action.", CHANCES)
        self._latency = Histogram("rl_agent_request_seconds", "Time of requests.", LATENCIES_S)
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
            yield counted(f"rl_agent_{name}", label, counts)


class _State(Collector):
    """What is so now."""

    def __init__(self, service: Service):
        self._service = service
        self.values: list[float] | None = None  # of the latest decision

    def collect(self) -> Iterator[Metric]:
        service = self._service
        trainer, log = service.trainer, service.log
        progress, player = trainer.progress, service.decider.player
        gauges = {
            "epsilon": ("Of the trainer.", service.epsilon),
            "exploration": ("Share that may explore.", _exploring(service)),
            "replay_size": ("Transitions.", progress["buffer_size"]),
            "training_steps": ("Updates.", progress["steps_done"]),
            "trainer_up": ("Whether it takes commands.", float(trainer.is_up)),
            "log_waiting": ("Events that are not written yet.", log.num_waiting),
            "outcomes_waiting": ("Decisions without outcome.", len(service.outcomes)),
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
        yield from guarded("rl_agent", service.guard)
        counts = {
            "policies_refused": ("Not taken.", service.policies.refused),
            "outcomes_forgotten": ("Decisions too old.", service.outcomes.forgotten),
            "trainer_starts": ("Of its process.", trainer.starts),
            "log_written": ("Events.", log.written),
        }
        for name, (meaning, count) in counts.items():
            yield CounterMetricFamily(f"rl_agent_{name}", meaning, value=count)
        yield counted("rl_agent_log_dropped", "why", log.dropped)
        yield counted("rl_agent_input_gaps", "name", service.inputs.gaps)


def _exploring(service: Service) -> float:
    settings = service.decider.settings
    return min(settings.epsilon, settings.most_epsilon)
