"""What the service does, as the JSON that callers get, counted."""

import time
from typing import Any

from marlserve.serving.agent import bodies
from marlserve.serving.agent.metrics import Metrics
from marlserve.serving.agent.service import Service


class Answers:
    """Of one service."""

    def __init__(self, service: Service):
        self.service, self.metrics = service, Metrics(service)

    def selected(self, asked: bodies.Select | None, received_s: float) -> dict[str, Any]:
        """A `bodies.Selection`; see `Service.select`."""
        decision, state = self.service.select(asked, received_s)
        self.metrics.decided(decision, time.perf_counter() - received_s)
        return {
            "replica_idx": decision.action,
            "replica_name": f"replica-{decision.action + 1}",
            "confidence": decision.propensity,
            "exploration": decision.explored,
            "decision_id": decision.id,
            "state": state,
            "reason": decision.reason,
            "version": decision.version,
        }

    async def recorded(self, said: bodies.Record) -> dict[str, Any]:
        """A `bodies.Recorded`; errors as of `Service.record`."""
        return self._told(said, *await self.service.record(said))

    def recorded_at_once(self, said: bodies.Record) -> dict[str, Any] | None:
        """As `recorded`; None if that takes a look into the log."""
        return self._told(said, *self.service.recorded(said)) if self.service.knows(said) else None

    def _told(self, said: bodies.Record, status: str, reward: float) -> dict[str, Any]:
        if status == "recorded":
            self.metrics.ended(said.success, said.latency_ms / 1e3)
        return {"status": status, "reward": reward, "detail": ""}
