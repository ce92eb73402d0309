"""What a trainer tells to Prometheus: steps by what became of them, queues, versions, and how the
clients say that they are doing; and what the processes and the machine are busy with.

    python -m marlserve.serving.trainer --config luna.json --metrics-port 9100

at /metrics on loopback.
"""

import time
from collections.abc import Iterator

try:
    import psutil
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        f'the trainer needs what tells its metrics; pip install "marlserve[serve]" ({error})'
    ) from error

from marlserve.serving.trainer.front import Front

_PREFIX = "marlserve_trainer"
_SILENT_S = 60.0  # after which a client does not count as there


class FrontMetrics(Collector):
    """Reads a front whenever it is asked."""

    def __init__(self, front: Front):
        self._front = front

    def collect(self) -> Iterator[Metric]:
        received = _counter("steps_received", "Steps that clients sent.")
        taken = _counter("steps_taken", "Steps that were handed to learners.")
        dropped = _counter("steps_dropped", "Steps that were lost, by reason.", "reason")
        behind = _counter("steps_behind", "Steps handed out, by versions behind.", "versions")
        queued = _gauge("queue_steps", "Steps that wait for a learner.")
        version = _gauge("version", "Of the policy, since this trainer began.")
        for intake in list(self._front.intakes.values()):
            name = intake.contract.policy
            received.add_metric([name], intake.received)
            taken.add_metric([name], intake.taken)
            queued.add_metric([name], intake.queued_steps)
            version.add_metric([name], intake.newest_version)
            for reason, steps in intake.dropped.copy().items():
                dropped.add_metric([name, reason], steps)
            for versions, steps in intake.staleness.copy().items():
                behind.add_metric([name, str(versions)], steps)
        yield from (received, taken, dropped, behind, queued, version)
        yield from self._clients()

    def _clients(self) -> Iterator[Metric]:
        now_s = time.monotonic()
        present = [
            client
            for client in list(self._front.clients.sessions.values())
            if now_s - client.heard_s < _SILENT_S
        ]
        yield GaugeMetricFamily(f"{_PREFIX}_clients", "That are there.", len(present))
        mean = _gauge("decision_mean_seconds", "Of the latest decisions of clients.")
        p99 = _gauge("decision_p99_seconds", "Of those of the slowest client.")
        for policy in sorted({client.policy for client in present}):
            reports = [client.report for client in present if client.policy == policy]
            means = [report.decision_mean_us for report in reports]
            mean.add_metric([policy], 1e-6 * sum(means) / len(means))
            p99.add_metric([policy], 1e-6 * max(report.decision_p99_us for report in reports))
        yield from (mean, p99)


class SystemMetrics(Collector):
    """Reads this process, which is the front, and its children, which learn, when it is asked."""

    def __init__(self) -> None:
        self._front = psutil.Process()

    def collect(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            f"{_PREFIX}_cpu_seconds", "Of processors, that processes have taken.", labels=["who"]
        )
        memory = GaugeMetricFamily(
            f"{_PREFIX}_resident_bytes", "Of memory, that processes have.", labels=["who"]
        )
        learners = {f"learner {each.pid}": each for each in self._front.children(recursive=True)}
        for who, process in {"front": self._front, **learners}.items():
            try:
                with process.oneshot():
                    times, resident = process.cpu_times(), process.memory_info().rss
            except psutil.Error:  # it has ended
                continue
            cpu.add_metric([who], times.user + times.system)
            memory.add_metric([who], resident)
        yield from (cpu, memory)
        available = psutil.virtual_memory().available
        yield GaugeMetricFamily(
            f"{_PREFIX}_machine_available_bytes", "Of memory, that nobody needs.", available
        )
        load, *_ = psutil.getloadavg()
        yield GaugeMetricFamily(
            f"{_PREFIX}_machine_load", "Processes that run or wait, of the latest minute.", load
        )


def resident_bytes(process: int) -> int:
    """Of memory, that a process of this id has."""
    return psutil.Process(process).memory_info().rss


def text(front: Front) -> str:
    """All metrics, as Prometheus reads them."""
    return generate_latest(_registry(front)).decode()


def serve(front: Front, port: int) -> None:
    """Answer at /metrics, in a thread of its own.

    Raises:
        ValueError: if the port cannot be had.
    """
    try:
        start_http_server(port, "127.0.0.1", _registry(front))
    except (OSError, OverflowError) as error:
        raise ValueError(f"metrics port {port} cannot be listened on: {error}") from error


def _registry(front: Front) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(FrontMetrics(front))
    registry.register(SystemMetrics())
    return registry


def _counter(name: str, what: str, *more: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_PREFIX}_{name}", what, labels=["policy", *more])


def _gauge(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", what, labels=["policy"])
