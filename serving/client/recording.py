"""A fragment while it is being made: its steps are added one by one, its rewards when they come."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

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
        tracks: what each agent sees and does.
        count: of steps.
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
            agent: Track(agent, contract.seats[seat], most_steps, memories.get(agent))
            for agent, seat in life.seats.items()
        }
        size = contract.state_size
        self._states = np.empty((most_steps + 1, size), np.float32) if size else None
        self._seen_states = 0
        self._versions: list[int] = []
        self._times_s: list[float] = []
        self.count = 0
        self.ending = GOES_ON
        self.closed_s = self.due_s = 0.0
        self.first_step, self.version = life.steps, 0

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

    def step(self, version: int, time_s: float) -> None:
        """One step more, which the tracks of those who act in it have, too.

        Args:
            time_s: by the monotonic clock.
        """
        self._versions.append(version)
        self._times_s.append(time_s)
        self.version = version
        self.count += 1

    def close(self, ending: pb.Ending, deadline_s: float) -> None:
        """There are no more steps."""
        for track in self.tracks.values():
            track.close()
        if self._states is not None and self._seen_states <= self.count:
            self._states[self.count] = self._states[self.count - 1]
        self.ending, self.closed_s = ending, time.monotonic()
        self.due_s = self.closed_s + deadline_s
        self.life.steps += self.count

    def take_back(self) -> list[int]:
        """Leave the last step out; the ids of its decisions."""
        acted = [track for track in self.tracks.values() if track.count == self.count]
        self.count -= 1
        self._versions.pop()
        self._times_s.pop()
        return [track.take_back() for track in acted]

    @property
    def ids(self) -> Iterator[int]:
        """Of all decisions."""
        return chain.from_iterable(track.ids for track in self.tracks.values())

    @property
    def is_complete(self) -> bool:
        """Whether all rewards are known."""
        return all(track.is_complete for track in self.tracks.values())

    def seal(self, default_reward: float) -> int:
        """Rewards come too late from now on; how many are the default. Fragments of an episode are
        sealed in order."""
        earned = self.life.earned
        return sum(track.seal(default_reward, earned) for track in self.tracks.values())

    def steps(self) -> Steps:
        """As they are learned from, once it is sealed."""
        columns = self._contract.columns
        return Steps(
            self.life.agent,
            self.life.episode,
            self.first_step,
            self.ending,
            self.run,
            np.array(self._versions, np.int64),
            np.array(self._times_s),
            tuple(track.part(columns) for track in self.tracks.values()),
            None if self._states is None else self._states[: self.count + 1],
        )
