"""One request at one replica: who decided that, what it costs meanwhile, and what came of it.

    attempt = attempts.begin(prompt, session, tried)        # decided, sent, logged
    attempt.came(3)                     # tokens
    attempt.succeeded(reply)            # or failed(), or left()

A request that is tried again at another replica is decided on again, and both are logged. What came
of it goes to the log once, with a reward: minus the seconds until the first token and until the
last, weighted as in the problem that policies are trained on (`envs.replica_routing`), or what a
failure costs there; but for what it cost its companions, which nobody can measure.
"""

import time
from collections.abc import Collection

import numpy as np

from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured, observe
from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.decision import Decision
from marlserve.serving.decisions.question import Question
from marlserve.serving.experience.events import DECISION, OUTCOME, Event
from marlserve.serving.experience.log import ExperienceLog
from marlserve.serving.gateway.fleet import Fleet
from marlserve.serving.gateway.health import Health
from marlserve.serving.gateway.measures import Measures
from marlserve.serving.gateway.prompts import Prompt, TokensPerByte
from marlserve.serving.gateway.replica import Replica
from marlserve.serving.gateway.replies import Reply

clock = time.monotonic


class Attempts:
    """Of one gateway.

    Args:
        config: what policies were trained with.
        log: None: nothing is logged.
    """

    def __init__(
        self,
        fleet: Fleet,
        decider: Decider,
        config: Config,
        measures: Measures,
        log: ExperienceLog | None,
    ):
        self.fleet, self.decider, self.config = fleet, decider, config
        self.measures, self.log = measures, log
        self.health = Health(fleet.replicas)
        self.tokens_per_byte = TokensPerByte()

    def begin(self, prompt: Prompt, session: str, tried: Collection[Replica]) -> "Attempt | None":
        """Decide where a request goes, and count it there; None if every replica was tried."""
        now_s, fleet = clock(), self.fleet
        left = [replica not in tried for replica in fleet.replicas]
        if not any(left):
            return None
        able = fleet.available(now_s)
        allowed = np.array([a and b for a, b in zip(able, left, strict=True)])
        if not allowed.any():  # perhaps one of them answers all the same
            allowed = np.array(left)
        seen = fleet.measured(prompt, session, now_s)
        observation = None if self.decider.player is None else observe(seen, self.config)
        start_s = time.perf_counter()
        decision = self.decider.decide(Question(seen, observation, allowed, session))
        self.measures.decided(decision, time.perf_counter() - start_s)
        replica = fleet.replicas[decision.action]
        self._log_decision(decision, seen, allowed, replica)
        matched = int(seen.matched_tokens[decision.action])
        return Attempt(self, decision, replica, prompt, session, matched, now_s)

    def _log_decision(
        self, decision: Decision, seen: Measured, allowed: np.ndarray, replica: Replica
    ) -> None:
        if self.log is None:
            return
        body = decision.body() | {
            "num_replicas": len(allowed),
            "replica": replica.name,
            "seen": {name: array.tolist() for name, array in seen._asdict().items()},
            "allowed": allowed.tolist(),
        }
        self.log.put(Event(decision.id, DECISION, body))


class Attempt:
    """See the module.

    Attributes:
        is_over: whether one of the three ways to end was taken.
    """

    def __init__(
        self,
        attempts: Attempts,
        decision: Decision,
        replica: Replica,
        prompt: Prompt,
        session: str,
        matched_tokens: int,
        now_s: float,
    ):
        self.decision, self.replica, self.is_over = decision, replica, False
        self._attempts, self._prompt = attempts, prompt
        self._flight = attempts.fleet.sent(prompt, session, replica, matched_tokens, now_s)

    def came(self, tokens: int) -> None:
        """So many more tokens came, of a stream."""
        if not tokens:
            return
        if self._flight.first_s is None:
            self._flight.first(clock())
        self._flight.generated(tokens)

    def succeeded(self, reply: Reply) -> None:
        """All of the reply came."""
        attempts, flight, now_s = self._attempts, self._flight, clock()
        used = reply.usage()
        output_tokens = reply.output_tokens(used)
        tpot_s = flight.end(now_s, output_tokens)
        prompt_tokens = used.get("prompt_tokens", 0)
        attempts.tokens_per_byte.add(self._prompt.num_bytes, prompt_tokens)
        e2e_s = now_s - flight.sent_s
        ttft_s = None if flight.first_s is None else flight.first_s - flight.sent_s
        attempts.measures.ended(ttft_s, tpot_s, e2e_s)
        attempts.health.succeeded(self.replica, now_s)
        config = attempts.config
        cost_s = config.ttft_weight * (e2e_s if ttft_s is None else ttft_s)
        cost_s += config.e2e_weight * e2e_s
        told: dict[str, float | None] = {"output_tokens": output_tokens}
        told["prompt_tokens"] = prompt_tokens or None
        told["cached_tokens"] = used.get("cached_tokens")
        times = {"ttft_s": ttft_s, "tpot_s": tpot_s}
        self._over(cost_s, e2e_s, failed=False, told=told | times)

    def failed(self, is_its_fault: bool = True) -> None:
        """Nothing came of it.

        Args:
            is_its_fault: whether the replica is why, rather than too many requests.
        """
        now_s = clock()
        self._flight.end(now_s, None)
        if is_its_fault:
            self._attempts.health.failed(self.replica, now_s)
        e2e_s = now_s - self._flight.sent_s
        self._over(self._attempts.config.failure_s, e2e_s, failed=True, told={})

    def left(self) -> None:
        """Whoever asked is gone, or asked for what cannot be: nothing is learned of it."""
        self.is_over = True
        self._flight.end(clock(), None)
        self._attempts.fleet.remove_idle()

    def _over(
        self, cost_s: float, e2e_s: float, failed: bool, told: dict[str, float | None]
    ) -> None:
        attempts, decision, self.is_over = self._attempts, self.decision, True
        attempts.fleet.remove_idle()
        attempts.measures.outcome(failed)
        attempts.decider.guard.add(decision.arm, e2e_s, failed, self._flight.sent_s)
        if attempts.log is None:
            return
        reward = -cost_s / attempts.config.reward_unit_s
        body = {"time_s": time.time(), "success": not failed, "reward": reward, "e2e_s": e2e_s}
        attempts.log.put(Event(decision.id, OUTCOME, body | told))
