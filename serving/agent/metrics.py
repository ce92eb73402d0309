"""What the agent service tells Prometheus."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marlserve.serving.agent.service import Service
from marlserve.serving.decisions.decision import REASONS, Decision

_SECONDS = (2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 0.1, 1.0)
_LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_CHANCES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_GUARD = ("trusted", "probation", "tripped")


class Metrics:
    """Counts as decisions are made; the rest is read when Prometheus asks."""

    def __init__(self, service: Service):
        registry = self._registry = CollectorRegistry()
        made = Counter("rl_agent_decisions", "Decisions.", ["reason"], registry=registry)
        self._decisions = {reason: made.labels(reason) for reason in REASONS}
        self._seconds = Histogram(
            "rl_agent_decision_seconds", "Time to decide.", buckets=_SECONDS, registry=registry
        )
        self._chance = Histogram(
            "rl_agent_propensity", "Chance of the action.", buckets=_CHANCES, registry=registry
        )
        ended = Counter("rl_agent_outcomes", "Outcomes.", ["result"], registry=registry)
        self._outcomes = {result: ended.labels(result) for result in ("success", "failure")}
        self._latency = Histogram(
            "rl_agent_request_seconds", "Requests.", buckets=_LATENCIES_S, registry=registry
        )
        self._state = _State(service)
        registry.register(self._state)
        self.num_decisions = self.num_outcomes = 0

    def decided(self, decision: Decision, seconds: float) -> None:
        """One more decision."""
        self.num_decisions += 1
        self._decisions[decision.reason].inc()
        self._seconds.observe(seconds)
        self._chance.observe(decision.propensity)
        if decision.values is not None:
            self._state.values = min(decision.values), max(decision.values)

    def ended(self, success: bool, latency_s: float) -> None:
        """One more outcome."""
        self.num_outcomes += 1
        self._outcomes["success" if success else "failure"].inc()
        self._latency.observe(latency_s)

    def text(self) -> bytes:
        """In Prometheus's format."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is so now."""

    def __init__(self, service: Service):
        self._service = service
        self.values: tuple[float, float] | None = None  # of the latest decision

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
            gauges["value_min"] = "Of the policy, latest decision.", self.values[0]
            gauges["value_max"] = "Of the policy, latest decision.", self.values[1]
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
        for name, label, found in (
            ("log_dropped", "why", log.dropped),
            ("input_gaps", "name", service.inputs.gaps),
        ):
            family = CounterMetricFamily(f"rl_agent_{name}", "So far.", labels=[label])
            for key, count in dict(found).items():
                family.add_metric([key], count)
            yield family


def _exploring(service: Service) -> float:
    settings = service.decider.settings
    return min(settings.epsilon, settings.most_epsilon)
