"""What one agent sees and does, and how its part of a fragment is held to it."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from marlserve.envs import checks
from marlserve.policies.export import spaces
from marlserve.policies.export.spaces import ActionSpace, Choices, Numbers, actions_of
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.arrays import array_of
from marlserve.serving.wire.steps import Part

LARGEST = 1e9  # of a reward, either way
MASK = "action_mask"
OBSERVATIONS = ("observation", "observations")  # what stands beside a mask
_TOLERANCE = 1e-4  # by which rounding may carry a log-probability beyond 0
_LARGEST_MEMORY = 10_000_000


@dataclass(frozen=True)
class Seat:
    """See the module.

    Attributes:
        masked: with each observation it is said which actions may be chosen.
        memory_size: numbers that its network remembers.

    Raises:
        ValueError: on construction, for anything else than a Box that is observed, and choices, or
            a Box of float32, that are played; and for masks of numbers.
    """

    observation_space: Box
    action_space: ActionSpace
    masked: bool = False
    memory_size: int = 0

    def __post_init__(self) -> None:
        spaces.to_json(self.observation_space)  # or it says what is allowed
        spaces.to_json(self.action_space)
        if not isinstance(self.observation_space, Box):
            raise ValueError(f"the observation space is {self.observation_space}; it must be a Box")
        actions = actions_of(self.action_space)
        if isinstance(actions, Numbers) and actions.low.dtype != np.float32:
            raise ValueError(
                f"the action space is {self.action_space}; allowed are Discrete, MultiDiscrete of "
                "one axis, and Box of float32"
            )
        if self.masked and isinstance(actions, Numbers):
            raise ValueError(f"the action space is {self.action_space}, which no mask can be for")
        checks.whole(self, "memory_size", 0, _LARGEST_MEMORY)

    @classmethod
    def of(cls, observation_space: Space, action_space: Space) -> "Seat":
        """Of spaces as environments have them: a Dict of "observation" and "action_mask" is masked.

        Raises:
            ValueError: for spaces that are not allowed.
        """
        masked = isinstance(observation_space, Dict) and MASK in observation_space.spaces
        if masked:
            parts = observation_space.spaces  # type: ignore[attr-defined]
            seen = next((parts[key] for key in OBSERVATIONS if key in parts), None)
            if seen is None:
                raise ValueError(
                    f"the observation space has {sorted(parts)}; beside {MASK!r} it must have one "
                    f"of {OBSERVATIONS}"
                )
            observation_space = seen
        return cls(observation_space, action_space, masked)  # type: ignore[arg-type]

    @cached_property
    def actions(self) -> Choices | Numbers:
        """What there is to choose."""
        return actions_of(self.action_space)

    def message(self, agent: str) -> pb.Seat:
        """As it is told."""
        return pb.Seat(
            agent=agent,
            observation_space=json.dumps(spaces.to_json(self.observation_space)),
            action_space=json.dumps(spaces.to_json(self.action_space)),
            masked=self.masked,
            memory_size=self.memory_size,
        )

    @classmethod
    def told(cls, message: pb.Seat) -> "Seat":
        """What was told.

        Raises:
            ValueError: if it does not fit together.
        """
        try:
            seen = spaces.from_json(json.loads(message.observation_space))
            played = spaces.from_json(json.loads(message.action_space))
        except RecursionError as error:
            raise ValueError(f"a space is nested too deeply: {error}") from error
        return cls(seen, played, message.masked, message.memory_size)  # type: ignore[arg-type]

    def legal(self, mask: Any) -> np.ndarray:
        """A mask as [H, A] bool: given so, or all components' values end to end; None: all.

        Raises:
            ValueError: for a mask where there is none, another shape, and one that leaves a
                component without any value.
        """
        actions = self.actions
        if not self.masked or isinstance(actions, Numbers):
            raise ValueError("there is a mask; this policy learns without")
        if mask is None:
            return actions.legal
        given = np.asarray(mask, bool)
        if given.shape == (actions.legal.sum(),):
            legal = np.zeros_like(actions.legal)
            legal[actions.legal] = given
        elif given.shape == actions.legal.shape:
            legal = given & actions.legal
        else:
            raise ValueError(
                f"the mask has shape {given.shape}; it must be {(int(actions.legal.sum()),)} or "
                f"{actions.legal.shape}"
            )
        if not legal.any(-1).all():
            raise ValueError(f"the mask leaves nothing to choose: {given.astype(int).tolist()}")
        return legal

    def part_of(self, message: pb.Part, steps: int, columns: tuple[str, ...]) -> Part:
        """The columns of a part of so many steps.

        Raises:
            ValueError: for other dtypes, shapes or lengths, and what is out of range or not finite.
        """
        space, actions = self.observation_space, self.actions
        count = message.rewards.shape[0] if message.rewards.shape else 0
        if count > steps:
            raise ValueError(f"there are {count} rewards in {steps} steps")
        seen_count = count + 1 if count else 0
        seen = array_of(
            message.observations, "observations", (seen_count, *space.shape), str(space.dtype)
        )
        if not ((seen >= space.low) & (seen <= space.high)).all():
            raise ValueError(f"observations are outside of {space}")
        dtype = "int64" if isinstance(actions, Choices) else "float32"
        done = array_of(message.actions, "actions", (count, *actions.shape), dtype)
        masks = self._masks(message, seen_count)
        if isinstance(actions, Choices):
            _check_choices(
                done.reshape(count, len(actions.legal)), actions.legal, masks, self.action_space
            )
        rewards = array_of(message.rewards, "rewards", (count,), "float32")
        if (np.abs(rewards) > LARGEST).any() or not abs(message.return_before) <= 1e6 * LARGEST:
            raise ValueError(f"rewards are beyond {LARGEST:g}")
        chances = outputs = memory = None
        if "log_probabilities" in columns:
            given = message.log_probabilities
            chances = array_of(given, "log-probabilities", (count,), "float32")
            if isinstance(actions, Choices) and (chances > _TOLERANCE).any():
                raise ValueError("log-probabilities are above 0")
        if "outputs" in columns:
            size = int(np.prod(actions.heads))
            outputs = array_of(message.outputs, "outputs", (count, size), "float32")
        if self.memory_size:
            memory = array_of(message.memory, "memory", (self.memory_size,), "float32")
        return Part(message.return_before, seen, done, rewards, masks, chances, outputs, memory)

    def _masks(self, message: pb.Part, count: int) -> np.ndarray | None:
        if not self.masked or not isinstance(self.actions, Choices):
            return None
        legal = self.actions.legal
        masks = array_of(message.masks, "masks", (count, *legal.shape), "uint8")
        if (masks > legal).any() or not masks.any(-1).all():
            raise ValueError("masks allow what there is not, or nothing")
        return masks


def _check_choices(
    done: np.ndarray, legal: np.ndarray, masks: np.ndarray | None, space: ActionSpace
) -> None:
    """Actions [t, H] are values that there are, and that masks [t + 1, H, A] allow."""
    if ((done < 0) | (done >= legal.sum(-1))).any():
        raise ValueError(f"actions are outside of {space}")
    if masks is not None and len(done):
        allowed = np.take_along_axis(masks[:-1], done[..., None], -1)
        if not allowed.all():
            raise ValueError("actions are chosen that their masks forbid")
