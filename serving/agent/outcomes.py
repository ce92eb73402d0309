"""Which decisions wait for their outcome, and which have it: each gets one, and that is quick."""

from collections import OrderedDict
from typing import NamedTuple


class Waiting(NamedTuple):
    """A decision."""

    arm: str
    decided_s: float  # time.monotonic()


class Outcomes:
    """The latest `most` of both.

    Attributes:
        forgotten: decisions that had no outcome while `most` others were made; it may still come.
    """

    def __init__(self, most: int = 100_000):
        self.forgotten = 0
        self._most = most
        # Of a dict, the oldest is behind all that was taken out before it, which is thousands.
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._done: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        """Decisions that wait."""
        return len(self._waiting)

    def expect(self, identity: str, waiting: Waiting) -> None:
        """A decision was made."""
        if len(self._waiting) >= self._most:
            self._waiting.popitem(last=False)
            self.forgotten += 1
        self._waiting[identity] = waiting

    def overdue(self, until_s: float) -> list[Waiting]:
        """Those decided on before, on the clock of `Waiting`, which wait no longer."""
        found = []
        for identity, waiting in self._waiting.items():  # the oldest first
            if waiting.decided_s >= until_s:
                break
            found.append(identity)
        return [self._waiting.pop(identity) for identity in found]

    def knows(self, identity: str) -> bool:
        """Whether it waits or is done, as far as is remembered."""
        return identity in self._waiting or identity in self._done

    def is_done(self, identity: str) -> bool:
        """Whether its outcome came already, as far as is remembered."""
        return identity in self._done

    def take(self, identity: str) -> Waiting | None:
        """The decision, which waits no longer; None if it is not among those that wait."""
        return self._waiting.pop(identity, None)

    def done(self, identity: str) -> None:
        """The outcome is there."""
        if len(self._done) >= self._most:
            self._done.popitem(last=False)
        self._done[identity] = None
