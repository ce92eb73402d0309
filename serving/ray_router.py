"""Ray Serve's replicas, ranked by a policy or a rule: its request router.

    from ray import serve
    from ray.serve.config import RequestRouterConfig

    router = RequestRouterConfig(
        request_router_class="marlserve.serving.ray_router:PolicyRequestRouter",
        request_router_kwargs={"models": "models", "problem": "chat"},   # see `initialize_state`
    )

    @serve.deployment(num_replicas=3, request_router_config=router)
    class Model:
        async def __call__(self, body: dict) -> dict: ...

        def record_routing_stats(self) -> dict[str, float]:   # optional
            return {"running": 3.0, "waiting": 0.0, "kv_usage": 0.4}

A decision goes by what `marlserve.serving.gateway` goes by, but for what Serve does not tell:
tokens as they come, and so times to first token and per token. The prompt is the first argument, if
that is a text or the body of a completion or a chat; the session is that of the request. What the
policy cannot decide on, the heuristic does. The replica that was decided on is asked first, and
then the others that have room.

It needs what `pip install "marlserve[ray_serve]"` installs. Ray calls the interface alpha; this is
that of 2.60.
"""

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

try:
    from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica
except ImportError as error:
    raise ImportError(
        f'the router needs Ray Serve; pip install "marlserve[ray_serve]" ({error})'
    ) from error

from marlserve.envs.replica_routing.config import PRESETS
from marlserve.envs.replica_routing.observation import observe
from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.decision import Settings
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.heuristics import Heuristic
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.decisions.player import warm_up
from marlserve.serving.decisions.question import Question
from marlserve.serving.experience.events import new_ids
from marlserve.serving.gateway.fleet import Fleet
from marlserve.serving.gateway.gateway import check_policy
from marlserve.serving.gateway.prompts import Prompt, prompt_of
from marlserve.serving.gateway.replica import Flight, Replica
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.service.policies import Policies

_LOOK_S = 1.0  # between two looks at the folder of policies
_TOLD = ("running", "waiting", "kv_usage")  # of what replicas may tell


class PolicyRequestRouter(RequestRouter):
    """See the module. Each process that sends requests has one of its own."""

    def initialize_state(
        self,
        *,
        models: str | None = None,
        problem: str = "long",
        timing_path: str = "",
        heuristic: str = "least_requests",
        cache_tokens: float = 2.0**20,
        num_routers: int = 1,
        **kwargs: Any,
    ) -> None:
        """Called by Ray with `request_router_kwargs`.

        Args:
            models: a folder of policy versions that all nodes see, see `policy_store`; None: the
                heuristic decides.
            problem: the preset of `envs.replica_routing` that policies were trained on, ...
            timing_path: ... and the timing of engines, if it had one.
            heuristic: see `decisions.heuristics`.
            cache_tokens: that the cache of each replica holds.
            num_routers: that send to the same replicas.

        Raises:
            ValueError: for what is none of these.
        """
        if kwargs:
            raise ValueError(f"request_router_kwargs has {sorted(kwargs)}, which are unknown")
        if problem not in PRESETS:
            raise ValueError(f"problem is {problem!r}; allowed is one of {tuple(PRESETS)}")
        self._config = replace(PRESETS[problem], timing_path=timing_path)
        self._fleet = Fleet(cache_tokens=cache_tokens, num_gateways=num_routers)
        mode = Mode("heuristic") if models is None else Mode("policy", 1.0)
        self._decider = Decider(Settings(mode), Guard(Limits()), new_ids(), Heuristic(heuristic))
        self._flights: dict[str, Flight] = {}  # by request
        if models is not None:
            warm_up()
            check = partial(check_policy, self._config)
            policies = Policies(PolicyStore(models), self._decider, check, "gateway_0")
            self._watching = self._event_loop.create_task(policies.watch(_LOOK_S))

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Ranks of preference; see `RequestRouter`."""
        self._know(candidate_replicas)
        fleet, now_s = self._fleet, time.monotonic()
        by_name = {_name(each.replica_id): each for each in candidate_replicas}
        free = {_name(x.replica_id) for x in self.select_available_replicas(candidate_replicas)}
        if not free:
            return []
        prompt, session = _asked(pending_request)
        seen = fleet.measured(prompt, session, now_s)
        allowed = np.array([each.name in free for each in fleet.replicas])
        observation = None if self._decider.player is None else observe(seen, self._config)
        decision = self._decider.decide(Question(seen, observation, allowed, session))
        first = fleet.replicas[decision.action]
        if pending_request is not None:  # counted at once: others are decided on before it is sent
            self._count(pending_request, first)
            pending_request.future.add_done_callback(partial(self._cancelled, pending_request))
        others = [by_name[name] for name in free - {first.name}]
        return [[by_name[first.name]], others] if others else [[by_name[first.name]]]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """A request went to a replica, the one that was decided on or another one."""
        flight = self._flights.get(pending_request.metadata.internal_request_id)
        replica = self._fleet.named(_name(replica_id))
        if replica is not None and (flight is None or flight.replica is not replica):
            self._count(pending_request, replica)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """It is there no longer."""
        self._end(internal_request_id)

    def _end(self, identity: str) -> None:
        flight = self._flights.pop(identity, None)
        if flight is not None:
            flight.end(time.monotonic(), None)

    def _count(self, pending: PendingRequest, replica: Replica) -> None:
        """A request is taken to be at this replica, and at no other."""
        identity = pending.metadata.internal_request_id
        self._end(identity)
        prompt, session = _asked(pending)
        matched = self._fleet.matched(prompt)[self._fleet.replicas.index(replica)]
        sent = self._fleet.sent(prompt, session, replica, matched, time.monotonic())
        self._flights[identity] = sent

    def _cancelled(self, pending: PendingRequest, future: asyncio.Future) -> None:
        """Whoever asked is gone before it was sent."""
        if future.cancelled():
            self._end(pending.metadata.internal_request_id)

    def _know(self, candidates: list[RunningReplica]) -> None:
        """Replicas that come and go, and what they tell."""
        fleet = self._fleet
        told = {_name(each.replica_id): each.routing_stats for each in candidates}
        fleet.replicas = [each for each in fleet.replicas if each.name in told]
        for name, stats in told.items():
            replica = fleet.named(name) or fleet.add(name)
            for key in _TOLD:
                if isinstance(value := stats.get(key), int | float) and value >= 0:
                    setattr(replica, key, float(value))
                    replica.scraped_s = time.monotonic()


def _name(replica_id: ReplicaID) -> str:
    return str(replica_id.unique_id)


def _asked(pending: PendingRequest | None) -> tuple[Prompt, str]:
    """The prompt of a request, as far as it can be told, and its session."""
    if pending is None:
        return Prompt(), ""
    first = pending.args[0] if pending.args else None
    body = {"prompt": first} if isinstance(first, str) else first
    prompt = prompt_of(body, 0.25) if isinstance(body, dict) else Prompt()
    return prompt, pending.metadata.session_id
