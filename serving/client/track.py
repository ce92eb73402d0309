"""One agent's part of a fragment while it is being made.

Columns are lists of plain numbers and of arrays until the fragment is sent, when another thread
makes arrays of them. Nothing else is kept of a step: what Python's garbage collector looks through
does not grow with them, so that no decision waits for it.
"""

from bisect import bisect_left
from math import nan
from threading import Lock

import numpy as np

from marlserve.policies.export.spaces import Choices
from marlserve.serving.client.playing import Choice
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import Part


class Track:
    """See the module.

    Args:
        most_steps: that it may have.
        memory: of the network before the first step; None if the episode begins there.

    Attributes:
        count: of steps.
        ids: of their decisions.
        is_sealed: whether rewards come too late.
    """

    def __init__(self, agent: str, seat: Seat, most_steps: int, memory: np.ndarray | None):
        self._agent, self._seat, space = agent, seat, seat.observation_space
        # The program may change what it has shown, so that is copied.
        self._observations = np.empty((most_steps + 1, *space.shape), space.dtype)
        self._masks: np.ndarray | None = None
        if seat.masked and isinstance(seat.actions, Choices):
            self._masks = np.empty((most_steps + 1, *seat.actions.legal.shape), np.uint8)
        self._memory = memory
        self._seen = 0  # observations
        self._actions: list[float] = []  # all numbers of all steps, end to end
        self._chances: list[float] = []
        self._outputs: list[np.ndarray] = []
        self._rewards: list[float] = []  # NaN until they are known
        self._told = 0  # how many of them, from the first one on, are known
        self._return_before = 0.0
        self._lock = Lock()  # rewards may come from any thread
        self.ids: list[int] = []
        self.count, self.is_sealed = 0, False

    def see(self, observation: np.ndarray, legal: np.ndarray | None) -> None:
        """What is seen before the next step, or after the last one."""
        self._observations[self.count] = observation
        if self._masks is not None:
            self._masks[self.count] = legal
        self._seen = self.count + 1

    def add(self, choice: Choice, decision_id: int) -> int:
        """What it does then; the index of the step."""
        index = self.count
        self._actions.extend(choice.action)
        self._chances.append(choice.log_probability)
        self._outputs.append(choice.outputs)
        self._rewards.append(nan)
        self.ids.append(decision_id)
        self.count = index + 1
        return index

    def close(self) -> None:
        """There are no more steps. If nobody knows what is seen after the last one, nor needs to,
        since it was the agent's last, it is what was seen before it."""
        last = self.count
        if last and self._seen <= last:
            self._observations[last] = self._observations[last - 1]
            if self._masks is not None:
                self._masks[last] = self._masks[last - 1]

    def take_back(self) -> int:
        """Leave the last step out; what was seen before it is what is seen last. The id of its
        decision."""
        with self._lock:
            del self._actions[-len(self._actions) // self.count :]
            for column in (self._chances, self._outputs, self._rewards):
                column.pop()
            self.count -= 1
            return self.ids.pop()

    def index_of(self, decision_id: int) -> int | None:
        """The step of a decision; None if it is gone."""
        index = bisect_left(self.ids, decision_id)
        return index if self.ids[index : index + 1] == [decision_id] else None

    def tell(self, index: int, reward: float) -> bool:
        """What came of a step; false if it is gone, or sent."""
        with self._lock:
            if self.is_sealed or index >= self.count:
                return False
            self._rewards[index] = reward
            return True

    @property
    def is_complete(self) -> bool:
        """Whether all rewards are known."""
        told, rewards = self._told, self._rewards
        while told < self.count and rewards[told] == rewards[told]:  # not NaN
            told += 1
        self._told = told
        return told == self.count

    def seal(self, default_reward: float, earned: dict[str, float]) -> int:
        """Rewards come too late from now on; how many are the default.

        Args:
            earned: by each agent in the episode so far; changed.
        """
        with self._lock:
            self.is_sealed = True
        unknown, total = 0, sum(self._rewards)
        if total != total:  # one of them is NaN
            unknown = sum(reward != reward for reward in self._rewards)
            self._rewards = [default_reward if each != each else each for each in self._rewards]
            total = sum(self._rewards)
        self._return_before = earned.get(self._agent, 0.0)
        earned[self._agent] = self._return_before + total
        return unknown

    def part(self, columns: tuple[str, ...]) -> Part:
        """As it is learned from, once it is sealed."""
        n, actions = self.count, self._seat.actions
        seen = n + 1 if n else 0
        dtype = np.int64 if isinstance(actions, Choices) else np.float32
        done = np.array(self._actions, dtype)
        chances = outputs = memory = None
        if "log_probabilities" in columns:
            chances = np.array(self._chances, np.float32)
            if isinstance(actions, Choices):
                chances = np.minimum(chances, 0.0)
        if "outputs" in columns:
            outputs = np.array(self._outputs, np.float32)
            outputs = outputs.reshape(n, int(np.prod(actions.heads)))
        if size := self._seat.memory_size:
            is_known = self._memory is not None and len(self._memory) == size
            memory = self._memory if is_known else np.zeros(size, np.float32)
        return Part(
            self._return_before,
            self._observations[:seen],
            done.reshape(n, *actions.shape),
            np.array(self._rewards, np.float32),
            None if self._masks is None else self._masks[:seen],
            chances,
            outputs,
            memory,
        )
