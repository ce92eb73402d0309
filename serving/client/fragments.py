"""Where the fragments of an agent, or of a team, begin and end, one after the other.

Episodes that are longer than a fragment may be have several. If a policy learns from its own steps
only, a newer one begins a fragment, so that none has two versions; the part before ends with what
is seen now. With `when_full` "wait" a fragment begins once there is room for it.
"""

from collections.abc import Mapping
from time import monotonic
from typing import Any

import numpy as np

from marlserve.policies.export.network import ANYONE
from marlserve.serving.client.books import Books
from marlserve.serving.client.decision import Decision
from marlserve.serving.client.link import Link
from marlserve.serving.client.outbox import Outbox
from marlserve.serving.client.playing import Playing
from marlserve.serving.client.recording import Life, Recording
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import GOES_ON, TERMINATED, TRUNCATED

Observations = Mapping[str, np.ndarray]
Masks = Mapping[str, np.ndarray | None]
Seen = tuple[Observations, Masks, np.ndarray | None]  # and the state of all together


class Fragments:
    """See the module; of one thread.

    Args:
        alone: who acts in episodes of its own, where the contract has a seat for anyone; "":
            all that the contract names.

    Attributes:
        life: the episode in progress, once its first step is taken; None before.
        recording: the fragment in the making; None if the next step begins one.
    """

    def __init__(
        self, alone: str, settings: ClientSettings, books: Books, outbox: Outbox, link: Link
    ):
        self._alone, self._settings = alone, settings
        self._books, self._outbox, self._link = books, outbox, link
        self._played: Playing | None = None  # what the recording's latest step was decided by
        self.life: Life | None = None
        self.recording: Recording | None = None

    @property
    def contract(self) -> Contract:
        """With the trainer."""
        contract = self._link.contract
        assert contract is not None  # it came before the policy
        return contract

    def seats(self) -> Mapping[str, str]:
        """The names in the contract of who plays.

        Raises:
            ValueError: if it is for several agents and this is for one, or the other way round.
        """
        if self.life is not None:
            return self.life.seats
        contract = self.contract
        if bool(self._alone) != contract.is_for_anyone:
            how = "team()" if self._alone else "episode()"
            raise ValueError(
                f"{contract.policy!r} is learned for {list(contract.seats)}; use {how}"
            )
        return {self._alone: ANYONE} if self._alone else {name: name for name in contract.seats}

    def has_room(self, newest: Playing) -> bool:
        """Whether the recording takes a step more, which this policy decides."""
        recording = self.recording
        if recording is None or recording.count == recording.most_steps:
            return False
        return newest is self._played or self._takes(recording, newest)

    def turn(self, newest: Playing, seen: Seen, memories: Masks) -> Playing:
        """End the recording, and begin another one once there is room; the policy that is the
        newest one by then.

        Args:
            memories: of networks, by agent.
        """
        if self.recording is not None:
            self.recording.see(*seen)
            self._close(self.recording, GOES_ON)
        running = self._books.running
        room = self._outbox.room(len(running) + (self not in running))
        newest = self._link.newest or newest  # it may have come while there was no room
        contract = self.contract
        if self.life is None:
            self.life = Life(self._alone, self.seats(), self._books.new_episode())
            running.add(self)
        most_steps = int(min(self._settings.most_steps, contract.most_steps, room))
        recording = Recording(contract, self.life, newest.run, most_steps, memories)
        self.recording, self._played = recording, newest
        return newest

    def end(self, terminated: bool, truncated: bool, seen: Seen | None) -> None:
        """The episode is over.

        Args:
            seen: at last, if it is truncated; None: the last step is left out.

        Raises:
            ValueError: unless it is either terminated or truncated.
        """
        if terminated == truncated:
            raise ValueError(
                f"terminated is {terminated} and truncated is {truncated}; one of them must be"
            )
        recording = self.recording
        if recording is not None:
            if seen is not None:
                recording.see(*seen)
            elif truncated and recording.count:
                self._books.forget(recording.take_back())
            self._close(recording, TERMINATED if terminated else TRUNCATED)
        self.life = None
        self._books.running.discard(self)

    def abandon(self) -> None:
        """The program stops in the midst of an episode: what is known is sent."""
        if self.recording is not None:
            self.end(terminated=False, truncated=True, seen=None)

    def fallback(self, agent: str, start_s: float) -> Decision:
        """What an agent does as long as there is no policy.

        Raises:
            ValueError: if the settings do not say it.
        """
        given: Any = self._settings.fallback_action
        if isinstance(given, dict):
            if agent not in given:
                raise ValueError(f"{agent!r} has no fallback_action; there are {sorted(given)}")
            given = given[agent]
        books = self._books
        with books.lock:
            books.fallbacks += 1
        action = list(given) if isinstance(given, tuple | list) else given
        decision = Decision(books, books.new_id(), action)
        books.times_s.append(monotonic() - start_s)
        return decision

    def _takes(self, recording: Recording, newest: Playing) -> bool:
        """Whether it may have steps of this policy, which is another one."""
        if recording.run != newest.run:
            return False
        if self.contract.on_policy and recording.version != newest.version:
            return False
        self._played = newest
        return True

    def _close(self, recording: Recording, ending: pb.Ending) -> None:
        self.recording = self._played = None
        if recording.count:
            recording.close(ending, self._settings.reward_deadline_s)
            self._outbox.put(recording)
