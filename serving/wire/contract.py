"""What a trainer takes, which is told to every client, and how a fragment is held to it.

A fragment is refused, with a sentence that says why, unless all its columns have the right dtype,
shape, length and range, and every number is finite.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np

from marlserve.envs import checks
from marlserve.policies.export.network import ANYONE
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.arrays import array_of
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import Steps

PROTOCOL = 1
COLUMNS = ("log_probabilities", "outputs")  # what may be asked for
_LONGEST_NAME = 200
_MOST_SEATS = 10_000


@dataclass(frozen=True)
class Contract:
    """What is learned, and what may be sent for it.

    Attributes:
        policy: its name.
        seats: by the name of the agent, those that play together in an episode; or one for ANYONE,
            and then agents live through episodes of their own.
        on_policy: whether a fragment has one version throughout.
        most_staleness: versions that a fragment may be behind; inf for any.
        columns: of COLUMNS, what is asked for.
        state_size: numbers of the state of all agents together; 0: there is none.
        most_steps: T, at most.
        capacity_steps: of the queue.

    Raises:
        ValueError: on construction, for a bad name, no seats, unknown columns, and numbers out of
            range.
    """

    policy: str
    seats: Mapping[str, Seat]
    on_policy: bool
    most_staleness: float
    columns: tuple[str, ...] = ()
    state_size: int = 0
    most_steps: int = 1_000
    capacity_steps: int = 4_000

    def __post_init__(self) -> None:
        for name in (self.policy, *self.seats):
            if not 0 < len(name) <= _LONGEST_NAME:
                raise ValueError(f"a name is {name!r}; allowed are 1 to {_LONGEST_NAME} letters")
        most = 1 if self.is_for_anyone else _MOST_SEATS
        if not 0 < len(self.seats) <= most:
            raise ValueError(
                f"there are seats for {list(self.seats)[:10]}; allowed are 1 to {_MOST_SEATS} "
                f"agents, or {ANYONE!r} alone"
            )
        if unknown := sorted(set(self.columns) - set(COLUMNS)):
            raise ValueError(f"columns are {unknown}; allowed are {COLUMNS}")
        checks.number(self, "most_staleness", 0, inf)
        checks.whole(self, "state_size", 0, 10_000_000)
        checks.whole(self, "most_steps", 1, 1_000_000)
        checks.whole(self, "capacity_steps", 1, 1_000_000_000)

    @property
    def is_for_anyone(self) -> bool:
        """Whether there is one seat, which any agent may take."""
        return ANYONE in self.seats

    @cached_property
    def spaces_hash(self) -> str:
        """Of all spaces: who has another one speaks of other things."""
        seats = {agent: replace(seat, memory_size=0) for agent, seat in self.seats.items()}
        told = [str(seat.message(agent)) for agent, seat in seats.items()]
        return hashlib.sha256(json.dumps([*told, self.state_size]).encode()).hexdigest()

    def message(self) -> pb.Contract:
        """As it is told."""
        is_limited = self.most_staleness < inf
        return pb.Contract(
            policy=self.policy,
            seats=[seat.message(agent) for agent, seat in self.seats.items()],
            state_size=self.state_size,
            on_policy=self.on_policy,
            most_staleness=int(self.most_staleness) if is_limited else 0,
            any_staleness=not is_limited,
            most_steps=self.most_steps,
            capacity_steps=self.capacity_steps,
            columns=self.columns,
        )

    @classmethod
    def of(cls, message: pb.Contract) -> "Contract":
        """What was told.

        Raises:
            ValueError: if it does not fit together.
        """
        return cls(
            message.policy,
            {seat.agent: Seat.told(seat) for seat in message.seats},
            message.on_policy,
            inf if message.any_staleness else message.most_staleness,
            tuple(message.columns),
            message.state_size,
            message.most_steps,
            message.capacity_steps,
        )

    def steps_of(self, message: pb.Fragment) -> Steps:
        """The columns of a fragment.

        Raises:
            ValueError: for what the module says.
        """
        count = message.versions.shape[0] if message.versions.shape else 0
        if not 1 <= count <= self.most_steps:
            raise ValueError(f"there are {count} steps; allowed are 1 to {self.most_steps}")
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
        if len(message.parts) != len(self.seats):
            raise ValueError(f"there are {len(message.parts)} parts of {len(self.seats)} agents")
        parts = []
        for (agent, seat), part in zip(self.seats.items(), message.parts, strict=True):
            try:
                parts.append(seat.part_of(part, count, self.columns))
            except ValueError as error:
                raise ValueError(f"agent {agent!r}: {error}") from error
        if max(map(len, parts)) != count:
            raise ValueError(f"nobody acts in the last of {count} steps")
        states = None
        if self.state_size:
            shape = count + 1, self.state_size
            states = array_of(message.states, "states", shape, "float32")
        where = message.agent, message.episode, message.first_step, message.ending, message.run
        return Steps(*where, versions, times_s, tuple(parts), states, message.session)
