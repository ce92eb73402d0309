"""One decision, which is told its reward."""

from math import isfinite
from typing import Any

from marlserve.serving.client.books import Books
from marlserve.serving.client.track import Track


class Decision:
    """What is to be done, and where its reward goes.

    Attributes:
        id: to tell its reward by.
        action: an int for `Discrete`, a list of ints for `MultiDiscrete`, an array for `Box`.
        version: of the policy; 0: there was none yet, and nobody learns from it.
        log_probability: of the action; NaN for numbers that are squashed, as nobody asks then.
    """

    __slots__ = ("_books", "_index", "_track", "action", "id", "log_probability", "version")

    def __init__(
        self,
        books: Books,
        decision_id: int,
        action: Any,
        version: int = 0,
        log_probability: float = 0.0,
        track: Track | None = None,
        index: int = 0,
    ):
        self.id = decision_id
        self.action, self.version, self.log_probability = action, version, log_probability
        self._books, self._track, self._index = books, track, index

    def reward(self, value: float) -> bool:
        """What came of it, in place of what was said before; false if it is not recorded any more.

        Raises:
            ValueError: for a value that is not finite.
        """
        if not isfinite(value):
            raise ValueError(f"the reward is {value}; it must be finite")
        if self._track is None:
            return False
        if self._track.tell(self._index, value):
            return True
        self._books.late += 1
        return False
