"""One agent's part of a fragment while it is being made."""

from math import nan

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
        known: of rewards.
    """

    def __init__(self, seat: Seat, most_steps: int, memory: np.ndarray | None):
        self._seat, space = seat, seat.observation_space
        # The program may change what it has shown, so that is copied; arrays are made of the rest
        # when it is sent, by another thread.
        self._observations = np.empty((most_steps + 1, *space.shape), space.dtype)
        self._masks: np.ndarray | None = None
        if seat.masked and isinstance(seat.actions, Choices):
            self._masks = np.empty((most_steps + 1, *seat.actions.legal.shape), np.uint8)
        self._memory = memory
        self._seen = 0  # observations
        self._choices: list[Choice] = []
        self._rewards: list[float] = []  # NaN until they are known
        self.count = self.known = 0

    def see(self, observation: np.ndarray, legal: np.ndarray | None) -> None:
        """What is seen before the next step, or after the last one."""
        self._observations[self.count] = observation
        if self._masks is not None:
            self._masks[self.count] = legal
        self._seen = self.count + 1

    def add(self, choice: Choice) -> None:
        """What it does then."""
        self._choices.append(choice)
        self._rewards.append(nan)
        self.count += 1

    def close(self) -> None:
        """There are no more steps. If nobody knows what is seen after the last one, nor needs to,
        since it was the agent's last, it is what was seen before it."""
        last = self.count
        if last and self._seen <= last:
            self._observations[last] = self._observations[last - 1]
            if self._masks is not None:
                self._masks[last] = self._masks[last - 1]

    def take_back(self) -> None:
        """Leave the last step out; what was seen before it is what is seen last."""
        self.count -= 1
        self._choices.pop()
        reward = self._rewards.pop()
        self.known -= reward == reward

    def tell(self, index: int, reward: float) -> bool:
        """What came of a step; false if there is none."""
        if index >= self.count:
            return False
        before = self._rewards[index]
        self.known += before != before  # NaN
        self._rewards[index] = reward
        return True

    def part(self, return_before: float, default_reward: float, columns: tuple[str, ...]) -> Part:
        """As it is learned from."""
        n, actions = self.count, self._seat.actions
        seen = n + 1 if n else 0
        rewards = np.array(self._rewards, np.float32)
        rewards[np.isnan(rewards)] = default_reward
        dtype = np.int64 if isinstance(actions, Choices) else np.float32
        done = np.array([choice.action for choice in self._choices], dtype)
        chances = outputs = memory = None
        if "log_probabilities" in columns:
            chances = np.array([choice.log_probability for choice in self._choices], np.float32)
            if isinstance(actions, Choices):
                chances = np.minimum(chances, 0.0)
        if "outputs" in columns:
            outputs = np.array([choice.outputs for choice in self._choices], np.float32)
            outputs = outputs.reshape(n, int(np.prod(actions.heads)))
        if size := self._seat.memory_size:
            is_known = self._memory is not None and len(self._memory) == size
            memory = self._memory if is_known else np.zeros(size, np.float32)
        return Part(
            return_before,
            self._observations[:seen],
            done.reshape(n, *actions.shape),
            rewards,
            None if self._masks is None else self._masks[:seen],
            chances,
            outputs,
            memory,
        )
