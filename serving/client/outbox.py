"""What waits to be sent: a bounded queue between the program and the network, and its losses.

Fragments leave in the order in which they came, once their rewards are known or due. A program
that waits begins none before there is room for it in the share that the trainer gives it, so that
the newest policy plays it, and it does not grow old here. Why steps are never sent:

    full        there was no room, or none on the disk either
    stale       too many versions behind to be learned from
    other_run   of a policy of another run of the trainer, for an on-policy learner
    refused     the trainer did not take them
    unreadable  fragments on the disk that are broken, or of other spaces; they count as one step
    unsent      the client was closed before the trainer said that it has them
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from math import inf
from threading import Condition

from marlserve.serving.client.recording import Recording
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.client.spill import Spill
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract

_MOST_FRAGMENTS = 64  # that go at once
_LOOK_S = 0.1  # between two looks for rewards
LINGER_S = 1.0  # what is complete waits no longer for more of its kind


class Outbox:
    """See the module.

    Attributes:
        lost: steps that were never sent, by reason.
        defaulted: steps whose reward was not known in time.

    Args:
        forget: is told the ids of decisions that cannot be told a reward any more.
    """

    def __init__(self, settings: ClientSettings, forget: Callable[[Iterable[int]], None]):
        self._settings, self._forget = settings, forget
        self.lost: Counter[str] = Counter()
        self.defaulted = 0
        self._changed = Condition()
        self._queue: deque[Recording] = deque()
        self._steps, self._most_steps, self._is_closed = 0, settings.buffer_steps, False
        self._waits = settings.when_full == "wait"
        # What the trainer allows, what it has not confirmed, and how many threads want to begin.
        self._share, self._under_way, self._beginners = 0, 0, 0
        folder = settings.spill_folder
        self._spill = None if folder is None else Spill(folder, settings.spill_bytes)

    def put(self, recording: Recording) -> None:
        """Queue a fragment that is closed; waits for room if the settings say so."""
        count = recording.count
        with self._changed:
            if self._waits:
                self._changed.wait_for(lambda: not self._is_full(count) or self._is_closed)
            while self._is_full(count):
                self._make_room()
            self._queue.append(recording)
            self._steps += recording.count
            self._changed.notify_all()

    def hold(self, contract: Contract) -> None:
        """Hold no more than the trainer can use: what waits for long is too old for some."""
        if contract.most_staleness < inf:
            most = contract.capacity_steps if self._waits else contract.capacity_steps // 2
            self._most_steps = min(self._most_steps, max(most, 1))

    def share(self, steps: int) -> None:
        """So many may be in the making and on their way, as the trainer says; 0: any number."""
        with self._changed:
            self._share = min(steps, self._most_steps)
            self._changed.notify_all()

    def room(self, episodes: int) -> float:
        """How many steps a fragment may have that begins now. Waits until half of the share is
        free, if the settings say so; what waits for rewards takes nothing of it.

        Args:
            episodes: that are lived through side by side.
        """
        if not self._waits:
            return inf
        with self._changed:
            self._beginners += 1
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._is_closed or self._on_its_way() <= self._share // 2 or not self._share
            )
            self._beginners -= 1
            free = self._share - self._on_its_way()
            return max(free // episodes, 1) if self._share else inf

    def take(self, timeout_s: float, contract: Contract) -> list[pb.Fragment]:
        """What is to be sent next, without numbers; nothing if nothing is ready after this time.
        Whoever asks has dealt with what was taken before."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            self._under_way = 0
            self._changed.notify_all()
            while not (count := self._ready()) and not self._has_spilled():
                now_s = time.monotonic()
                if now_s >= until_s or self._is_closed:
                    break
                self._changed.wait(min(until_s, self._next_s(now_s)) - now_s)
            recordings = [self._popped() for _ in range(count)]
            self._under_way = sum(recording.count for recording in recordings)
        if self._spill is not None and self._has_spilled():
            spilled, unreadable = self._spill.take(self._settings.most_steps, contract)
            if unreadable:
                self.lost["unreadable"] += unreadable
        else:
            spilled = []
        for recording in recordings:
            self._seal(recording)
        return [*spilled, *(recording.steps().message(0) for recording in recordings)]

    def close(self) -> None:
        """Let what is there go at once; rewards that are not known are the default."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def give_up(self) -> None:
        """Nothing more is sent."""
        with self._changed:
            if self._queue:
                self.lost["unsent"] += self._steps
            self._queue.clear()
            self._steps = 0

    def _is_full(self, count: int) -> bool:
        """Whether there is no room for so many steps more; one fragment has room in any case."""
        return bool(self._queue) and self._steps + count > self._most_steps

    def _has_spilled(self) -> bool:
        return self._spill is not None and len(self._spill) > 0

    def _ready(self) -> int:
        """How many fragments may go now, from the first one on."""
        count = len(self._known())
        if not count or self._is_closed or count >= self._settings.send_frequency:
            return count
        is_due = self._queue[0].closed_s + LINGER_S <= time.monotonic()
        return count if is_due or self._beginners else 0

    def _known(self) -> list[Recording]:
        """Fragments whose rewards are known or due, from the first one on."""
        now_s = time.monotonic()
        return list(
            takewhile(
                lambda each: self._is_closed or each.due_s <= now_s or each.is_complete,
                islice(self._queue, _MOST_FRAGMENTS),
            )
        )

    def _on_its_way(self) -> int:
        """Steps that nothing but the trainer keeps here."""
        return self._under_way + sum(recording.count for recording in self._known())

    def _next_s(self, now_s: float) -> float:
        """When to look again, if nothing comes in the meantime."""
        if not self._queue:
            return inf
        first = self._queue[0]
        if not first.is_complete:  # nobody says when its rewards are told
            return min(max(first.due_s, now_s + 0.001), now_s + _LOOK_S)
        return max(first.closed_s + LINGER_S, now_s + 0.001)

    def _popped(self) -> Recording:
        recording = self._queue.popleft()
        self._steps -= recording.count
        self._changed.notify_all()
        return recording

    def _seal(self, recording: Recording) -> None:
        self.defaulted += recording.seal(self._settings.default_reward)
        self._forget(recording.ids)

    def _make_room(self) -> None:
        """The oldest fragment goes to the disk, or is lost."""
        recording = self._popped()
        self._seal(recording)
        if self._spill is None or not self._spill.put(recording.steps().message(0)):
            self.lost["full"] += recording.count
