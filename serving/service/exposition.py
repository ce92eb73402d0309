"""Metrics for Prometheus that one thread fills, and the rest reads when it is asked."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from marlserve.serving.decisions.guard import Guard

SECONDS = (2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 0.1, 1.0)  # of decisions
LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # of requests
CHANCES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_STATES = ("trusted", "probation", "tripped")


class Histogram(Collector):
    """Of one thread: prometheus_client's takes a lock for each of its numbers, which is a tenth of
    a decision."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...]):
        self._name, self._meaning, self._bounds = name, meaning, bounds
        self._counts, self._sum = [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        names = [*map(str, self._bounds), "+Inf"]
        upto = zip(names, accumulate(self._counts), strict=True)
        made = HistogramMetricFamily(self._name, self._meaning)
        made.add_metric([], list(upto), self._sum)
        yield made


def counted(name: str, label: str, counts: Mapping[str, int]) -> Metric:
    """Counters, one for each value of a label."""
    family = CounterMetricFamily(name, "So far.", labels=[label])
    for key, count in dict(counts).items():
        family.add_metric([key], count)
    return family


def guarded(prefix: str, guard: Guard) -> Iterator[Metric]:
    """The guard's state, its evidence and its alarms."""
    name, meaning = f"{prefix}_guard_evidence", "As a share of an alarm."
    yield GaugeMetricFamily(name, meaning, value=guard.evidence)
    states = GaugeMetricFamily(f"{prefix}_guard", "Its state is 1.", labels=["state"])
    for state in _STATES:
        states.add_metric([state], float(guard.state == state))
    yield states
    yield CounterMetricFamily(f"{prefix}_guard_alarms", "Of the guard.", value=guard.alarms)
