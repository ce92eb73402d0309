"""What a trainer takes, which is told to every client, and how a fragment is held to it.

A fragment is refused, with a sentence that says why, unless all its columns have the right dtype,
shape, length and range, and every number is finite.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
from gymnasium.spaces import Box

from marlserve.envs import checks
from marlserve.policies.export import spaces
from marlserve.policies.export.spaces import ActionSpace, Choices, actions_of
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.arrays import array_of
from marlserve.serving.wire.steps import Steps

PROTOCOL = 1
_LONGEST_NAME = 200
_LARGEST = 1e9  # of a reward, either way
_TOLERANCE = 1e-4  # by which rounding may carry a log-probability beyond 0


@dataclass(frozen=True)
class Contract:
    """What is learned, and what may be sent for it.

    Attributes:
        policy: its name.
        on_policy: whether a fragment has one version throughout.
        most_staleness: versions that a fragment may be behind; inf for any.
        most_steps: T, at most.
        capacity_steps: of the queue.

    Raises:
        ValueError: on construction, for anything else than a Box that is observed and one or
            several choices that are made, and for numbers out of range.
    """

    policy: str
    observation_space: Box
    action_space: ActionSpace
    on_policy: bool
    most_staleness: float
    most_steps: int = 1_000
    capacity_steps: int = 4_000

    def __post_init__(self) -> None:
        if not 0 < len(self.policy) <= _LONGEST_NAME:
            raise ValueError(f"policy is {self.policy!r}; allowed are 1 to {_LONGEST_NAME} letters")
        spaces.to_json(self.observation_space)  # or it says what is allowed
        spaces.to_json(self.action_space)
        if not isinstance(self.observation_space, Box):
            raise ValueError(f"the observation space is {self.observation_space}; it must be a Box")
        actions = actions_of(self.action_space)
        if not isinstance(actions, Choices) or actions.start.any():
            raise ValueError(
                f"the action space is {self.action_space}; allowed are Discrete and MultiDiscrete "
                "of one axis that start at 0"
            )
        checks.number(self, "most_staleness", 0, inf)
        checks.whole(self, "most_steps", 1, 1_000_000)
        checks.whole(self, "capacity_steps", 1, 1_000_000_000)

    @cached_property
    def spaces_hash(self) -> str:
        """Of both spaces: who has another one speaks of other things."""
        both = [spaces.to_json(self.observation_space), spaces.to_json(self.action_space)]
        return hashlib.sha256(json.dumps(both, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _actions(self) -> Choices:
        return actions_of(self.action_space)  # type: ignore[return-value]

    def message(self) -> pb.Contract:
        """As it is told."""
        is_limited = self.most_staleness < inf
        return pb.Contract(
            policy=self.policy,
            observation_space=json.dumps(spaces.to_json(self.observation_space)),
            action_space=json.dumps(spaces.to_json(self.action_space)),
            on_policy=self.on_policy,
            most_staleness=int(self.most_staleness) if is_limited else 0,
            any_staleness=not is_limited,
            most_steps=self.most_steps,
            capacity_steps=self.capacity_steps,
        )

    @classmethod
    def of(cls, message: pb.Contract) -> "Contract":
        """What was told.

        Raises:
            ValueError: if it does not fit together.
        """
        observation_space = spaces.from_json(json.loads(message.observation_space))
        if not isinstance(observation_space, Box):
            raise ValueError(f"the observation space is {observation_space}; it must be a Box")
        return cls(
            message.policy,
            observation_space,
            spaces.from_json(json.loads(message.action_space)),
            message.on_policy,
            inf if message.any_staleness else message.most_staleness,
            message.most_steps,
            message.capacity_steps,
        )

    def steps_of(self, message: pb.Fragment) -> Steps:
        """The columns of a fragment.

        Raises:
            ValueError: for what the module says.
        """
        space, choices = self.observation_space, self._actions
        count = message.rewards.shape[0] if message.rewards.shape else 0
        if not 1 <= count <= self.most_steps:
            raise ValueError(f"there are {count} steps; allowed are 1 to {self.most_steps}")
        seen = array_of(
            message.observations, "observations", (count + 1, *space.shape), str(space.dtype)
        )
        if not ((seen >= space.low) & (seen <= space.high)).all():
            raise ValueError(f"observations are outside of {space}")
        actions = array_of(message.actions, "actions", (count, *choices.shape), "int64")
        if ((actions < 0) | (actions >= choices.legal.sum(-1).reshape(choices.shape))).any():
            raise ValueError(f"actions are outside of {self.action_space}")
        rewards = array_of(message.rewards, "rewards", (count,), "float32")
        if np.abs(rewards).max() > _LARGEST or not abs(message.return_before) <= 1e6 * _LARGEST:
            raise ValueError(f"rewards are beyond {_LARGEST:g}")
        chances = array_of(message.log_probabilities, "log-probabilities", (count,), "float32")
        if (chances > _TOLERANCE).any():
            raise ValueError("log-probabilities are above 0")
        outputs = array_of(message.outputs, "outputs", (count, choices.legal.size), "float32")
        versions = array_of(message.versions, "versions", (count,), "int64")
        if versions[0] < 1 or (np.diff(versions) < 0).any():
            raise ValueError("versions are less than 1, or go back")
        if self.on_policy and versions[0] != versions[-1]:
            raise ValueError("there are several versions; of an on-policy learner it is one")
        times_s = array_of(message.times_s, "times", (count,), "float64")
        if (np.diff(times_s) < 0).any():
            raise ValueError("times go back")
        for name, text in (("agent", message.agent), ("run", message.run)):
            if len(text) > _LONGEST_NAME:
                raise ValueError(f"{name} has {len(text)} letters; allowed are {_LONGEST_NAME}")
        if message.ending not in pb.Ending.values():
            raise ValueError(f"ending is {message.ending}; allowed are {pb.Ending.values()}")
        where = message.agent, message.episode, message.first_step, message.return_before
        how = actions, rewards, chances, outputs, versions, times_s
        return Steps(*where, message.ending, message.run, seen, *how, message.session)
