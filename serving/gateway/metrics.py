"""What the gateway tells Prometheus."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marlserve.serving.gateway.attempts import clock
from marlserve.serving.gateway.gateway import Gateway
from marlserve.serving.gateway.measures import PREFIX
from marlserve.serving.service.exposition import counted, guarded

_OF_REPLICAS = (  # by the attribute's name
    *("requests", "unanswered", "ttft_s", "tpot_s", "running", "waiting", "kv_usage"),
    *("prefix_hit_share", "cache_tokens"),
)


class Metrics(Collector):
    """Of one gateway."""

    def __init__(self, gateway: Gateway):
        self._gateway, self._registry = gateway, CollectorRegistry()
        for each in (self, *gateway.measures.histograms.values()):
            self._registry.register(each)

    def text(self) -> bytes:
        """In Prometheus's format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Counts, and what is so now."""
        gateway, measures = self._gateway, self._gateway.measures
        for name, label, counts in (
            ("answers", "status", measures.answers),
            ("decisions", "reason", measures.decisions),
            ("outcomes", "result", measures.outcomes),
            ("ejections", "why", gateway.attempts.health.ejected),
            ("scrape_gaps", "name", gateway.watching.gaps),
        ):
            yield counted(f"{PREFIX}_{name}", label, counts)
        for name, count in (
            ("retries", gateway.forwarding.retries),
            ("retries_refused", gateway.forwarding.refused),
            ("replies_cut", gateway.forwarding.cut),
        ):
            yield CounterMetricFamily(f"{PREFIX}_{name}", "So far.", value=count)
        pieces = sum(len(replica.pieces) for replica in gateway.fleet.replicas)
        yield GaugeMetricFamily(f"{PREFIX}_prefix_pieces", "Remembered.", value=pieces)
        yield from self._of_replicas()
        yield from self._of_policy()
        yield from guarded(PREFIX, gateway.guard)
        if gateway.log is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}_log_waiting", "Not written yet.", value=gateway.log.num_waiting
            )
            yield CounterMetricFamily(f"{PREFIX}_log_written", "Events.", value=gateway.log.written)
            yield counted(f"{PREFIX}_log_dropped", "why", gateway.log.dropped)
        if gateway.delivery is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}_redis_up",
                "Whether events are delivered.",
                value=float(gateway.delivery.is_connected),
            )

    def _of_replicas(self) -> Iterator[Metric]:
        replicas, now_s = self._gateway.fleet.replicas, clock()
        told = {name: [float(getattr(each, name)) for each in replicas] for name in _OF_REPLICAS}
        told["available"] = [float(each.is_available(now_s)) for each in replicas]
        for name, values in told.items():
            family = GaugeMetricFamily(f"{PREFIX}_replica_{name}", "Now.", labels=["replica"])
            for replica, value in zip(replicas, values, strict=True):
                family.add_metric([replica.name], value)
            yield family

    def _of_policy(self) -> Iterator[Metric]:
        policies, player = self._gateway.policies, self._gateway.decider.player
        if policies is not None:
            yield CounterMetricFamily(
                f"{PREFIX}_policies_refused", "Not taken.", value=policies.refused
            )
        if player is not None:
            age_s = time.time() - player.published_s
            version = float(player.version)
            yield GaugeMetricFamily(f"{PREFIX}_policy_version", "Played.", value=version)
            yield GaugeMetricFamily(f"{PREFIX}_policy_age_seconds", "Since then.", value=age_s)
        if values := self._gateway.measures.values:
            for name, value in (("min", min(values)), ("max", max(values))):
                yield GaugeMetricFamily(f"{PREFIX}_value_{name}", "Latest.", value=value)
