"""The books of a client: how many decisions, how fast, and whose reward is still to come."""

from collections import deque
from collections.abc import Iterable
from itertools import count
from random import Random
from threading import Lock
from typing import Any

import numpy as np

from marlserve.serving.client.track import Track

_RECENT = 4_096  # decisions whose times are known


class Books:
    """See the module; several threads may write.

    Attributes:
        last_id: of a decision, which is how many there were.
        fallbacks: decisions without a policy.
        late: rewards that came when their steps were gone.
        open: where the rewards of decisions go, by their id, until their steps are gone.
        running: the `Fragments` that are in the midst of an episode.
        times_s: that the latest decisions took.
    """

    def __init__(self, seed: int | None):
        self.random = Random(seed)
        self.last_id = self.fallbacks = self.late = 0
        self.open: dict[int, Track] = {}
        self.running: set[Any] = set()
        self.times_s: deque[float] = deque(maxlen=_RECENT)
        self._ids = count(1)
        # Not of the seed: another run of the program has other episodes, also on the disk.
        self._episodes = count(Random().getrandbits(60))
        self.lock = Lock()

    def new_id(self) -> int:
        """Of a decision."""
        self.last_id = next(self._ids)
        return self.last_id

    def new_episode(self) -> int:
        """A number that no other one has."""
        return next(self._episodes)

    def decision_us(self) -> np.ndarray:
        """What the latest decisions took."""
        return 1e6 * np.array(self.times_s.copy())

    def forget(self, ids: Iterable[int]) -> None:
        """The steps of these decisions are gone."""
        for each in ids:
            self.open.pop(each, None)
