"""A fragment while it is being made: its steps are added one by one, its rewards when they come."""

import time
from dataclasses import dataclass
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
        is_sealed: whether rewards come too late.
        closed_s: when it was closed, by the monotonic clock.
        due_s: when it is sealed at the latest.
    """

    def __init__(self, contract: Contract, life: Life, run: str, most_steps: int):
        self.life, self.run, self.most_steps = life, run, most_steps
        space, choices = contract.observation_space, actions_of(contract.action_space)
        self.observations = np.empty((most_steps + 1, *space.shape), space.dtype)
        self.actions = np.empty((most_steps, *choices.shape), np.int64)
        self.outputs = np.empty((most_steps, int(np.prod(choices.heads))), np.float32)
        self.chances = np.empty(most_steps, np.float32)
        self.rewards = np.full(most_steps, np.nan, np.float32)  # until they are known
        self.versions = np.empty(most_steps, np.int64)
        self.times_s = np.empty(most_steps, np.float64)
        self.count, self.ending, self.is_sealed = 0, GOES_ON, False
        self.closed_s = self.due_s = 0.0
        self.first_step = life.steps
        self.ids: list[int] = []  # of the decisions
        self._lock = Lock()

    @property
    def version(self) -> int:
        """Of the latest step."""
        return int(self.versions[self.count - 1])

    def add(
        self,
        observation: np.ndarray,
        action: list[int],
        chance: float,
        outputs: np.ndarray,
        version: int,
    ) -> int:
        """One step; its index."""
        index = self.count
        self.observations[index] = observation
        self.actions[index] = action if self.actions.ndim > 1 else action[0]
        self.outputs[index] = outputs.ravel()
        self.chances[index] = min(chance, 0.0)
        self.versions[index] = version
        self.times_s[index] = time.monotonic()
        self.count += 1
        return index

    def close(self, following: np.ndarray, ending: pb.Ending, deadline_s: float) -> None:
        """There are no more steps; `following` is what is seen after the last one."""
        self.observations[self.count] = following
        self.ending, self.closed_s = ending, time.monotonic()
        self.due_s = self.closed_s + deadline_s
        self.life.steps += self.count

    def take_back(self) -> np.ndarray:
        """Leave the last step out; what was seen before it."""
        self.count -= 1
        return self.observations[self.count].copy()

    def tell(self, index: int, reward: float) -> bool:
        """What came of a step; false if it is too late."""
        with self._lock:
            if self.is_sealed:
                return False
            self.rewards[index] = reward
            return True

    @property
    def is_complete(self) -> bool:
        """Whether all rewards are known."""
        return not np.isnan(self.rewards[: self.count]).any()

    def seal(self, default_reward: float) -> tuple[Steps, int]:
        """The steps, and how many of them have the default reward."""
        with self._lock:
            self.is_sealed = True
        n, life = self.count, self.life
        rewards = self.rewards[:n]
        unknown = np.isnan(rewards)
        rewards[unknown] = default_reward
        before, life.earned = life.earned, life.earned + float(rewards.sum(dtype=np.float64))
        steps = Steps(
            life.agent,
            life.episode,
            self.first_step,
            before,
            self.ending,
            self.run,
            self.observations[: n + 1],
            self.actions[:n],
            rewards,
            self.chances[:n],
            self.outputs[:n],
            self.versions[:n],
            self.times_s[:n],
        )
        return steps, int(unknown.sum())
