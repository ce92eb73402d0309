"""What a decision is, and the settings that it is made by.

Reasons, by who decided:

- the policy: `policy`
- the heuristic, which was to: `mode` of the service, `control` for comparison, `guard` gave alarm
- the heuristic, where the policy was to: there is `no_policy`, or an `old_policy`, or it plays no
  such `replica_count`; there is `no_input`, or it is `out_of_range`; the policy's values are
  `not_finite`, or it raised an `error`; the `deadline` is too near
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from marlserve.envs import checks
from marlserve.serving.decisions.guard import POLICY
from marlserve.serving.decisions.modes import Mode

REASONS = (
    *("policy", "mode", "control", "guard"),
    *("no_policy", "old_policy", "replica_count", "no_input", "out_of_range", "not_finite"),
    *("error", "deadline"),
)


@dataclass(frozen=True)
class Settings:
    """How it decides.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    mode: Mode = field(default_factory=Mode)
    epsilon: float = 0.0  # how much goes to others than what the policy thinks best
    most_epsilon: float = 0.1  # never more than this
    temperature: float = 0.0  # of a softmax over the policy's values; 0: to all others alike
    oldest_policy_s: float = inf  # since it was published

    def __post_init__(self) -> None:
        checks.number(self, "epsilon", 0.0, 1.0)
        checks.number(self, "most_epsilon", 0.0, 1.0)
        checks.number(self, "temperature", 0.0, 1e6)
        checks.number(self, "oldest_policy_s", 0.0, inf)


class Decision(NamedTuple):
    """One decision.

    Attributes:
        time_s: since 1970.
        arm: whose request it is, "policy" or "heuristic", whoever decided.
        reason: see the module.
        version: of the policy that decided, or was asked in shadow mode; "": none was.
        propensity: the chance that this action had.
        policy_action: what the policy thinks best; -1 if it was not asked or could not tell.
        values: what it thinks of each replica.
    """

    id: str
    time_s: float
    arm: str
    reason: str
    version: str
    action: int
    propensity: float
    policy_action: int = -1
    values: list[float] | None = None

    def body(self) -> dict[str, Any]:
        """What a log has of it, beside what it went by."""
        return {
            "time_s": self.time_s,
            "arm": self.arm,
            "reason": self.reason,
            "version": self.version,
            "action": self.action,
            "propensity": self.propensity,
            "policy_action": self.policy_action,
        }

    @property
    def explored(self) -> bool:
        """Whether the policy took another action than the one that it thinks best."""
        return self.reason == POLICY and self.action != self.policy_action
