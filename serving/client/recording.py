"""A fragment while it is being made: its steps are added one by one, its rewards when they come."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from marlserve.serving.client.playing import Choice
from marlserve.serving.client.track import Track
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import GOES_ON, Steps


@dataclass
class Life:
    """What the fragments of one episode have in common.

    Attributes:
        agent: who lives it; "" for several.
        seats: names in the contract of who plays, by the names that the program has for them.
        steps, earned: of fragments that are complete; of each seat what it earned.
    """

    agent: str
    seats: Mapping[str, str]
    episode: int
    steps: int = 0
    earned: dict[str, float] = field(default_factory=dict)


class Recording:
    """See the module.

    Args:
        most_steps: that it may have.
        memories: of networks before the first step, by agent.

    Attributes:
        count: of steps.
        ids: of their decisions.
        is_sealed: whether rewards come too late.
        version: of the latest step.
        closed_s: when it was closed, by the monotonic clock.
        due_s: when it is sealed at the latest.
    """

    def __init__(
        self,
        contract: Contract,
        life: Life,
        run: str,
        most_steps: int,
        memories: Mapping[str, np.ndarray | None],
    ):
        self._contract, self.life, self.run, self.most_steps = contract, life, run, most_steps
        self.tracks = {
            agent: Track(contract.seats[seat], most_steps, memories.get(agent))
            for agent, seat in life.seats.items()
        }
        size = contract.state_size
        self._states = np.empty((most_steps + 1, size), np.float32) if size else None
        self._seen_states = 0
        self._steps: list[tuple[int, float]] = []  # version and time
        self.count = 0
        self.ending, self.is_sealed = GOES_ON, False
        self.closed_s = self.due_s = 0.0
        self.first_step, self.version = life.steps, 0
        self.ids: list[int] = []  # of the decisions
        self._lock = Lock()

    def see(
        self,
        observations: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray | None],
        state: np.ndarray | None,
    ) -> None:
        """What is seen before the next step, or after the last one; who is not named has left."""
        for agent, observation in observations.items():
            self.tracks[agent].see(observation, masks[agent])
        if self._states is not None:
            self._states[self.count] = state
            self._seen_states = self.count + 1

    def add(self, choices: Mapping[str, Choice], version: int) -> int:
        """One step, with what was seen before it; its index."""
        index, self.version = self.count, version
        for agent, choice in choices.items():
            self.tracks[agent].add(choice)
        self._steps.append((version, time.monotonic()))
        self.count = index + 1
        return index

    def close(self, ending: pb.Ending, deadline_s: float) -> None:
        """There are no more steps."""
        for track in self.tracks.values():
            track.close()
        if self._states is not None and self._seen_states <= self.count:
            self._states[self.count] = self._states[self.count - 1]
        self.ending, self.closed_s = ending, time.monotonic()
        self.due_s = self.closed_s + deadline_s
        self.life.steps += self.count

    def take_back(self) -> None:
        """Leave the last step out."""
        with self._lock:
            for track in self.tracks.values():
                if track.count == self.count:
                    track.take_back()
            self.count -= 1
            self._steps.pop()

    def tell(self, agent: str, index: int, reward: float) -> bool:
        """What came of a step; false if it is too late."""
        with self._lock:
            return not self.is_sealed and self.tracks[agent].tell(index, reward)

    @property
    def is_complete(self) -> bool:
        """Whether all rewards are known."""
        return all(track.known == track.count for track in self.tracks.values())

    def seal(self, default_reward: float) -> tuple[Steps, int]:
        """The steps, and how many rewards are the default."""
        with self._lock:
            self.is_sealed = True
        life, parts = self.life, []
        for agent, track in self.tracks.items():
            before = life.earned.get(agent, 0.0)
            parts.append(track.part(before, default_reward, self._contract.columns))
            life.earned[agent] = parts[-1].earned
        versions, times_s = zip(*self._steps, strict=True)
        steps = Steps(
            life.agent,
            life.episode,
            self.first_step,
            self.ending,
            self.run,
            np.array(versions, np.int64),
            np.array(times_s),
            tuple(parts),
            None if self._states is None else self._states[: self.count + 1],
        )
        return steps, sum(track.count - track.known for track in self.tracks.values())
