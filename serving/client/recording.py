"""A fragment while it is being made: its steps are added one by one, its rewards when they come."""

import time
from dataclasses import dataclass
from math import nan
from threading import Lock

import numpy as np

from marlserve.policies.export.spaces import actions_of
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import GOES_ON, Steps


@dataclass
class Life:
    """What the fragments of one episode have in common.

    Attributes:
        steps, earned: of those that are complete.
    """

    agent: str
    episode: int
    steps: int = 0
    earned: float = 0.0


class Recording:
    """See the module.

    Args:
        most_steps: that it may have.

    Attributes:
        count: of steps.
        ids: of their decisions.
        is_sealed: whether rewards come too late.
        version: of the latest step.
        closed_s: when it was closed, by the monotonic clock.
        due_s: when it is sealed at the latest.
    """

    def __init__(self, contract: Contract, life: Life, run: str, most_steps: int):
        self.life, self.run, self.most_steps = life, run, most_steps
        space, choices = contract.observation_space, actions_of(contract.action_space)
        self._action_shape = choices.shape
        # The program may change what it has shown, so that is copied; arrays are made of the rest
        # when it is sent, by another thread.
        self.observations = np.empty((most_steps + 1, *space.shape), space.dtype)
        self._outputs: list[np.ndarray] = []
        self._steps: list[tuple[list[int], float, int, float]] = []
        self._rewards: list[float] = []  # NaN until they are known
        self._known, self.count = 0, 0
        self.ending, self.is_sealed = GOES_ON, False
        self.closed_s = self.due_s = 0.0
        self.first_step, self.version = life.steps, 0
        self.ids: list[int] = []  # of the decisions
        self._lock = Lock()

    def add(
        self,
        observation: np.ndarray,
        action: list[int],
        chance: float,
        outputs: np.ndarray,
        version: int,
    ) -> int:
        """One step; its index."""
        index, self.version = self.count, version
        self.observations[index] = observation
        self._outputs.append(outputs)
        self._steps.append((action, chance, version, time.monotonic()))
        self._rewards.append(nan)
        self.count = index + 1
        return index

    def close(self, following: np.ndarray, ending: pb.Ending, deadline_s: float) -> None:
        """There are no more steps; `following` is what is seen after the last one."""
        self.observations[self.count] = following
        self.ending, self.closed_s = ending, time.monotonic()
        self.due_s = self.closed_s + deadline_s
        self.life.steps += self.count

    def take_back(self) -> np.ndarray:
        """Leave the last step out; what was seen before it."""
        with self._lock:
            self.count -= 1
            self._outputs.pop()
            self._steps.pop()
            reward = self._rewards.pop()
            self._known -= reward == reward
        return self.observations[self.count].copy()

    def tell(self, index: int, reward: float) -> bool:
        """What came of a step; false if it is too late."""
        with self._lock:
            if self.is_sealed or index >= self.count:
                return False
            before = self._rewards[index]
            self._known += before != before  # NaN
            self._rewards[index] = reward
            return True

    @property
    def is_complete(self) -> bool:
        """Whether all rewards are known."""
        return self._known == self.count

    def seal(self, default_reward: float) -> tuple[Steps, int]:
        """The steps, and how many of them have the default reward."""
        with self._lock:
            self.is_sealed = True
        n, life = self.count, self.life
        rewards = np.array(self._rewards, np.float32)
        rewards[np.isnan(rewards)] = default_reward
        before, life.earned = life.earned, life.earned + float(rewards.sum(dtype=np.float64))
        actions, chances, versions, times_s = zip(*self._steps, strict=True)
        steps = Steps(
            life.agent,
            life.episode,
            self.first_step,
            before,
            self.ending,
            self.run,
            self.observations[: n + 1],
            np.array(actions, np.int64).reshape(n, *self._action_shape),
            rewards,
            np.minimum(np.array(chances, np.float32), 0.0),
            np.stack(self._outputs).reshape(n, -1),
            np.array(versions, np.int64),
            np.array(times_s),
        )
        return steps, n - self._known
