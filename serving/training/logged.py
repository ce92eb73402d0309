"""What decisions in a log show, as a policy sees it, and which replicas could have been chosen.

AgentLog(num_replicas=3).decided(body)                    # of `serving.agent`
GatewayLog(PRESETS["mixed"], num_replicas=3).decided(body)  # of `serving.gateway`
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from gymnasium.spaces import Box

from marlserve.envs import checks
from marlserve.envs.replica_routing import observation as routing
from marlserve.envs.replica_routing.config import Config
from marlserve.serving.experience.events import Body
from marlserve.serving.replica_state import MOST_REPLICAS, checked, encoded, features


class Decided(NamedTuple):
    """One decision."""

    observation: np.ndarray  # float32
    allowed: np.ndarray  # [R] bool


class Logged(Protocol):
    """Of one kind of service, with R replicas.

    Attributes:
        gamma: the discount, a decision.
        reward_unit: that rewards are divided by; None: what is usual, as learning begins.
        features: (name, unit) of what is on the last axis of an observation.
    """

    @property
    def gamma(self) -> float: ...
    @property
    def reward_unit(self) -> float | None: ...
    @property
    def num_replicas(self) -> int: ...
    @property
    def features(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def observation_space(self) -> Box: ...
    def decided(self, body: Body) -> Decided:
        """What a decision shows.

        Raises:
            KeyError, TypeError, ValueError: if it is of another number of replicas, something is
                missing, or out of range.
        """
        ...


@dataclass(frozen=True)
class AgentLog:
    """Of the agent service: a state of all replicas."""

    num_replicas: int
    gamma: ClassVar[float] = 0.99
    reward_unit: ClassVar[float | None] = 1.0

    def __post_init__(self) -> None:
        checks.whole(self, "num_replicas", 2, MOST_REPLICAS)

    @property
    def features(self) -> tuple[tuple[str, str], ...]:
        return features(self.num_replicas)

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (len(self.features),), np.float32)

    def decided(self, body: Body) -> Decided:
        _check_replicas(body, self.num_replicas)
        allowed = np.ones(self.num_replicas, bool)
        allowed[list(body.get("unavailable", ()))] = False
        state = checked(body["state"], self.num_replicas)
        return Decided(encoded(state), allowed)


@dataclass(frozen=True)
class GatewayLog:
    """Of gateways: a row of numbers for each replica, as the problem of this Config shows them."""

    config: Config
    num_replicas: int
    gamma: ClassVar[float] = 0.95  # a decision shows in what the next dozens cost
    reward_unit: ClassVar[float | None] = None  # seconds here are milliseconds elsewhere

    def __post_init__(self) -> None:
        checks.whole(self, "num_replicas", 2, MOST_REPLICAS)
        if self.config.view == "source":
            raise ValueError("the view is 'source', which no gateway has; allowed are the others")

    @property
    def features(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, "1") for name in routing.features(self.config))

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (self.num_replicas, len(self.features)), np.float32)

    def decided(self, body: Body) -> Decided:
        _check_replicas(body, self.num_replicas)
        seen = {name: np.asarray(values, float) for name, values in body["seen"].items()}
        observation = routing.observe(routing.Measured(**seen), self.config)
        if not self.observation_space.contains(observation):
            raise ValueError(f"what was seen is out of range, or of shape {observation.shape}")
        return Decided(observation, np.array(body["allowed"], bool))


def _check_replicas(body: Body, num_replicas: int) -> None:
    if body["num_replicas"] != num_replicas:
        raise ValueError(f"it is of {body['num_replicas']} replicas")
