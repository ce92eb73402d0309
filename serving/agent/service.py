"""What the routes of the agent service do, without HTTP.

All that `select` touches is in memory: the policy, what was measured lately, the queue of the log.
It runs on one thread, that of the event loop.
"""

import asyncio
import logging
import time
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from marlserve.envs.checks import is_number
from marlserve.serving.agent.bodies import Record, Select
from marlserve.serving.agent.inputs import Inputs
from marlserve.serving.agent.outcomes import Outcomes, Waiting
from marlserve.serving.agent.settings import AgentSettings
from marlserve.serving.agent.trainer import Trainer
from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.decision import Decision, Settings
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.heuristics import Heuristic
from marlserve.serving.decisions.player import Player
from marlserve.serving.decisions.question import Question, measured
from marlserve.serving.experience.events import DECISION, OUTCOME, Event, kinds_of, new_ids
from marlserve.serving.experience.log import ExperienceLog
from marlserve.serving.experience.stream import Delivery
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.replica_state import checked, encoded, features, plain, reward
from marlserve.serving.service.policies import Policies

OVERDUE_S = 300.0  # an outcome is
_RECENT = 10  # rewards in `stats`
_log = logging.getLogger(__name__)


class UnknownDecision(ValueError):
    """There is no decision of that id, neither in memory nor in the log."""


class Service:
    """See the module.

    Raises:
        ValueError: if the folder at `model_path` cannot be made.
    """

    def __init__(self, settings: AgentSettings, seed: int | None = None):
        self.settings = settings
        self.store = PolicyStore(settings.model_path)
        self.log = ExperienceLog(
            settings.model_path / "experience.sqlite", is_delivered=bool(settings.redis_url)
        )
        self.delivery = None
        if settings.redis_url:
            self.delivery = Delivery(self.log.path, settings.redis_url)
        self.inputs = Inputs(settings.num_replicas, settings.redis_url, settings.prometheus_url)
        self.guard = Guard(Limits())
        self._ids = new_ids()
        self.decider = Decider(
            Settings(
                settings.mode,
                most_epsilon=settings.most_epsilon,
                oldest_policy_s=settings.oldest_policy_s,
            ),
            self.guard,
            self._ids,
            Heuristic(settings.heuristic),
            seed,
        )
        self.policies = Policies(self.store, self.decider, self._check)
        self.trainer = Trainer(settings, str(self.log.path))
        self.outcomes = Outcomes()
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self._everywhere: dict[int, np.ndarray] = {}

    def close(self) -> None:
        """Write what is left, and end all threads."""
        self.inputs.close()
        self.log.close()
        if self.delivery is not None:
            self.delivery.close()

    def select(self, asked: Select | None, received_s: float) -> tuple[Decision, list[float]]:
        """A decision, and the state that it went by; empty if too little is known.

        Args:
            asked: what the caller knows; None: what was measured.
            received_s: when it came, on the clock of `time.perf_counter`.
        """
        if asked is None:
            question, state = self._measured()
        else:
            question, state = self._told(asked, received_s)
        decision = self.decider.decide(question)
        self.outcomes.expect(decision.id, Waiting(decision.arm, time.monotonic()))
        body = decision.body() | {
            "num_replicas": len(question.allowed),
            "state": state,
            "unavailable": asked.unavailable if asked is not None else (),
        }
        self.log.put(Event(decision.id, DECISION, body))
        return decision, state

    async def record(self, said: Record) -> tuple[str, float]:
        """Log what came of a request, once: "recorded", or "duplicate", and the reward.

        Raises:
            UnknownDecision: for an id of no decision.
            ValueError: for a state or an action that is none.
        """
        if self.knows(said) or await self._is_open(said.decision_id):
            return self.recorded(said)
        return "duplicate", _earned(said)

    def knows(self, said: Record) -> bool:
        """Whether it takes no look into the log: the decision is in memory, or the caller's."""
        return not said.decision_id or self.outcomes.knows(said.decision_id)

    def recorded(self, said: Record) -> tuple[str, float]:
        """As `record`, of a decision that is known, or that has no outcome in the log."""
        earned, identity, waiting = _earned(said), said.decision_id, None
        if not identity:
            identity = self._decided_elsewhere(said)
        elif self.outcomes.is_done(identity):
            return "duplicate", earned
        else:
            waiting = self.outcomes.take(identity)
            self.outcomes.done(identity)
        body = {
            "time_s": time.time(),
            "latency_s": said.latency_ms / 1e3,
            "success": said.success,
            "loads": said.replica_loads,
            "reward": earned,
        }
        self.log.put(Event(identity, OUTCOME, body))
        self.recent.append(earned)
        if waiting is not None:
            self._compare(waiting, said.latency_ms / 1e3, not said.success)
        return "recorded", earned

    def give_up(self, now_s: float) -> int:
        """Count decisions whose outcome is overdue as failed, as far as the guard is concerned; a
        replica that swallows requests may be why. How many there are.

        Args:
            now_s: time.monotonic().
        """
        overdue = self.outcomes.overdue(now_s - OVERDUE_S)
        for waiting in overdue:
            self._compare(waiting, 0.0, failed=True)
        return len(overdue)

    def stats(self) -> dict[str, Any]:
        """What `bodies.Stats` has, but for counts."""
        player = self.decider.player
        return {name: self.trainer.progress[name] for name in ("steps_done", "buffer_size")} | {
            "epsilon": self.epsilon,
            "avg_recent_reward": sum(self.recent) / len(self.recent) if self.recent else None,
            "device": "cpu",
            "model_path": str(self.settings.model_path),
            "num_replicas": self.settings.num_replicas,
            "mode": self.decider.settings.mode.name,
            "version": player.version if player is not None else "",
            "guard": self.guard.state,
        }

    @property
    def epsilon(self) -> float:
        """As the trainer says, or where there is none, as whoever trained the policy said."""
        player = self.decider.player
        if self.trainer.is_up or player is None:
            return float(self.trainer.progress["epsilon"])
        said = player.training.get("epsilon")
        return float(said) if said is not None and is_number(said, 0.0, 1.0) else 1.0

    def explore(self, epsilon: float) -> None:
        """With this epsilon from now on, within the bound; not at all without exploration."""
        wanted = epsilon if self.settings.exploration else 0.0
        if self.decider.settings.epsilon != wanted:
            self.decider.settings = replace(self.decider.settings, epsilon=wanted)

    def _check(self, player: Player) -> None:
        """A policy must read the state of so many replicas."""
        read = [name for name, _ in player.features]
        expected = [name for name, _ in features(self.settings.num_replicas)]
        if read != expected:
            raise ValueError(f"policy {player.version} reads {read}; expected are {expected}")

    def _compare(self, waiting: Waiting, e2e_s: float, failed: bool) -> None:
        if self.guard.add(waiting.arm, e2e_s, failed, waiting.decided_s):
            _log.warning(
                "the guard gave alarm %d, about %s: the heuristic decides for now",
                *(self.guard.alarms, self.guard.why),
            )

    def _measured(self) -> tuple[Question, list[float]]:
        """By what was measured: loads, all 0 if they are unknown, and the state if all of it is."""
        loads, rest = self.inputs.loads(), self.inputs.rest()
        state = [] if loads is None or rest is None else plain(loads, **rest)
        return self._question(loads or [0.0] * self.settings.num_replicas, state), state

    def _told(self, asked: Select, received_s: float) -> tuple[Question, list[float]]:
        """By what the caller knows."""
        loads = asked.replica_loads
        state = plain(
            loads,
            asked.queue_depth,
            asked.recent_latency_ms / 1e3,
            asked.current_rps,
            asked.success_rate,
            asked.memory,
            asked.cpu,
            asked.time_of_day,
        )
        question = self._question(loads, state)
        if asked.unavailable:
            allowed = question.allowed.copy()
            allowed[list(asked.unavailable)] = False
            question = question._replace(allowed=allowed)
        if asked.session:
            question = question._replace(session=asked.session)
        if asked.deadline_ms is not None:
            question = question._replace(deadline_s=received_s + asked.deadline_ms / 1e3)
        return question, state

    def _question(self, loads: list[float], state: list[float]) -> Question:
        number = len(loads)
        if number not in self._everywhere:
            self._everywhere[number] = np.ones(number, bool)
        observation = encoded(state) if state else None
        return Question(measured(loads), observation, self._everywhere[number])

    def _decided_elsewhere(self, said: Record) -> str:
        """Log the decision that a caller tells of; its id."""
        number = len(said.replica_loads)
        assert said.state is not None
        assert said.action is not None
        state = checked(said.state, number)
        if said.action >= number:
            raise ValueError(f"action is {said.action}; allowed is 0 to {number - 1}")
        identity = next(self._ids)
        known = {"arm": "caller", "reason": "caller", "version": "", "policy_action": -1}
        body = {"time_s": time.time(), "num_replicas": number, "state": state, "unavailable": []}
        body |= known | {"action": said.action, "propensity": None}
        self.log.put(Event(identity, DECISION, body))
        return identity

    async def _is_open(self, identity: str) -> bool:
        """Whether a decision that is not in memory still has no outcome in the log."""
        try:
            kinds = await asyncio.to_thread(kinds_of, self.log.path, identity)
        except ValueError as error:
            raise UnknownDecision(f"decision {identity!r} is unknown: {error}") from error
        if DECISION not in kinds:
            raise UnknownDecision(f"decision {identity!r} is unknown")
        return OUTCOME not in kinds


def _earned(said: Record) -> float:
    return reward(said.latency_ms, said.success, said.replica_loads)
