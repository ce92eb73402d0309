"""What the trainer's processes, and the machine, are busy with, as Prometheus reads it."""

from collections.abc import Iterator

try:
    import psutil
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        f'the trainer needs what tells its metrics; pip install "marlserve[serve]" ({error})'
    ) from error

_PREFIX = "marlserve_trainer"


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
