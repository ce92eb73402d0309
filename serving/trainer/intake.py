"""What clients have sent for one policy, and what is handed out to those who learn from it.

A queue of bounded size: who brings more than it holds waits, and what is too old for the learner is
dropped. Every step that is lost is counted, by reason:

    stale      too many versions behind, when it came or when it was to be learned from
    other_run  of a policy that another run of the trainer published, for an on-policy learner
    invalid    not what the contract says
    too_fast   more steps per second than a client may send
    duplicate  sent once more, as after a lost answer; it is in the queue or was
"""

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from math import inf
from typing import Any

from marlserve.serving.trainer.shares import Shares
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.policy_diff import difference
from marlserve.serving.wire.policy_parts import Published, noises_of
from marlserve.serving.wire.steps import Steps

_RECENT = 8  # versions, what changed since which is known


@dataclass
class Client:
    """One session of a client.

    Attributes:
        through: the last of its fragments that was dealt with.
        report: what it said of itself.
        heard_s: when it last said something, by the monotonic clock.
    """

    policy: str
    through: int = 0
    report: pb.Report = field(default_factory=pb.Report)
    heard_s: float = field(default_factory=time.monotonic)
    _earned_s: float = field(default_factory=time.monotonic)
    _allowance: float = inf

    def is_within(self, steps: int, most_steps_per_s: float) -> bool:
        """Whether so many steps are within the rate; a second's worth may come at once."""
        now_s = time.monotonic()
        earned = (now_s - self._earned_s) * most_steps_per_s
        self._earned_s = now_s
        self._allowance = min(self._allowance + earned, max(most_steps_per_s, steps))
        if steps > self._allowance:
            return False
        self._allowance -= steps
        return True


class Intake:
    """See the module; of one event loop.

    Attributes:
        newest: what was published last; None if nothing was.
        received, taken: steps that came in, and that were handed out.
        dropped: steps that were lost, by reason.
        shares: how much each session may have on its way.
    """

    def __init__(self, contract: Contract, run: str):
        self.contract, self.run = contract, run
        self.shares = Shares(contract)
        self.newest: Published | None = None
        self.received, self.taken = 0, 0
        self.dropped: Counter[str] = Counter()
        self.staleness: Counter[int] = Counter()  # steps that were handed out, by versions behind
        self._queue: deque[tuple[pb.Fragment, int, int]] = deque()  # with its steps and version
        self.queued_steps = 0
        self.changed = asyncio.Condition()
        self._recent: deque[Published] = deque(maxlen=_RECENT)
        self._changes: dict[int, asyncio.Task[bytes | None]] = {}  # since versions, of the newest

    def counts(self) -> dict[str, Any]:
        """How it is going, as JSON."""
        return {
            "policy": self.contract.policy,
            "version": self.newest_version,
            "received": self.received,
            "taken": self.taken,
            "queued": self.queued_steps,
            "dropped": dict(self.dropped),
            "staleness": dict(sorted(self.staleness.items())),
        }

    @property
    def newest_version(self) -> int:
        return 0 if self.newest is None else self.newest.version

    async def put(self, fragment: pb.Fragment, steps: Steps) -> str:
        """Queue a fragment, as soon as there is room; why it is dropped, or ""."""
        count, version = len(steps), int(steps.versions[0])
        async with self.changed:
            # A fragment that is larger than the queue goes into an empty one.
            await self.changed.wait_for(
                lambda: not self._queue or self.queued_steps + count <= self.contract.capacity_steps
            )
            self.received += count
            reason = self._reason(steps.run, version)
            if reason:
                self.dropped[reason] += count
                return reason
            self._queue.append((fragment, count, version))
            self.queued_steps += count
            self.changed.notify_all()
        return ""

    async def take(self, steps: int, timeout_s: float) -> list[pb.Fragment]:
        """At least so many steps, or all there are after this time."""
        taken: list[pb.Fragment] = []
        missing = steps
        async with self.changed:
            try:
                async with asyncio.timeout(timeout_s):
                    while True:
                        missing -= self._move(missing, taken)
                        if missing <= 0:
                            break
                        await self.changed.wait()
            except TimeoutError:
                pass
        return taken

    def _move(self, steps: int, to: list[pb.Fragment]) -> int:
        """Take from the queue what can be had of so many steps; how many it is."""
        moved = 0
        while self._queue and moved < steps:
            fragment, count, version = self._queue.popleft()
            self.queued_steps -= count
            behind = self.newest_version - version
            if behind > self.contract.most_staleness:
                self.dropped["stale"] += count
                continue
            self.staleness[max(behind, 0)] += count
            to.append(fragment)
            moved += count
        self.taken += moved
        self.changed.notify_all()
        return moved

    async def publish(self, message: pb.Policy) -> int:
        """A newer policy; its version."""
        async with self.changed:
            version = self.newest_version + 1
            what = message.manifest, message.weights, message.epsilon, noises_of(message.noises)
            self.newest = Published(self.run, version, *what)
            self._recent.append(self.newest)
            self._changes.clear()
            self.changed.notify_all()
        return version

    async def newer(self, than: int) -> tuple[Published, bytes | None]:
        """The newest policy, as soon as its version is another one; and what changed since that
        version, if it is known and less than the whole."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.newest_version > than)
            newest = self.newest
            assert newest is not None
            old = next((each for each in self._recent if each.version == than), None)
            if old is None:
                return newest, None
            if than not in self._changes:  # once for all who ask, and not in the way of others
                called = asyncio.to_thread(difference, old.weights, newest.weights)
                self._changes[than] = asyncio.create_task(called)
            changes = self._changes[than]
        return newest, await asyncio.shield(changes)  # others wait for it, too

    def _reason(self, run: str, version: int) -> str:
        """Why a fragment cannot be learned from; "" if it can."""
        if run != self.run:
            return "other_run" if self.contract.most_staleness < inf else ""
        if version > self.newest_version:
            return "invalid"
        return "stale" if self.newest_version - version > self.contract.most_staleness else ""
