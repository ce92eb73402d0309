"""The episodes of one agent, as the program lives through them, one after the other."""

from time import monotonic
from typing import Any

import numpy as np

from marlserve.serving.client.books import Books
from marlserve.serving.client.decision import Decision
from marlserve.serving.client.fragments import Fragments, Seen
from marlserve.serving.client.link import Link
from marlserve.serving.client.outbox import Outbox
from marlserve.serving.client.seeing import seen_of, state_of
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire.seats import Seat


class Episode:
    """See the module; of one thread.

    Args:
        agent: its name.
    """

    def __init__(
        self, agent: str, settings: ClientSettings, books: Books, outbox: Outbox, link: Link
    ):
        self._agent, self._books, self._link = agent, books, link
        self._fragments = Fragments(agent, settings, books, outbox, link)
        self._seat: Seat | None = None  # of the contract, once there was a step
        self._is_plain = False  # whether nothing but an observation is shown, as known by then
        self._memory: np.ndarray | None = None

    def act(self, observation: Any, mask: np.ndarray | None = None) -> Decision:
        """What to do, given what is seen now.

        A newer policy is played at once; see `fragments` for what waits here.

        Args:
            observation: [*O], or {"observation": [*O], "action_mask": mask}.
            mask: which actions are legal, as `Seat.legal` takes it, if the contract has masks;
                None: all.

        Raises:
            ValueError: for an observation of another shape, or not finite, and a mask that is not
                asked for, or allows nothing.
        """
        start_s = monotonic()
        agent, books, fragments = self._agent, self._books, self._fragments
        newest = self._link.newest
        if newest is None:
            return fragments.fallback(agent, start_s)
        if mask is None and self._is_plain and not isinstance(observation, dict):
            seen, legal = observation, None
        else:
            seen, legal = self._seen(observation, mask)
        choice = newest.choose(agent, seen, legal, self._memory, books.random)
        if not fragments.has_room(newest):
            shown = {agent: seen}, {agent: legal}, None
            latest = fragments.turn(newest, shown, {agent: self._memory})
            if latest is not newest:
                newest = latest
                choice = newest.choose(agent, seen, legal, self._memory, books.random)
        recording = fragments.recording
        assert recording is not None
        self._memory = choice.memory
        track = recording.tracks[agent]
        track.see(seen, legal)
        recording.step(newest.version, start_s)
        decision_id = books.new_id()
        index = track.add(choice, decision_id)
        books.open[decision_id] = track
        decision = Decision(
            books, decision_id, choice.told, newest.version, choice.log_probability, track, index
        )
        books.times_s.append(monotonic() - start_s)
        return decision

    def end(
        self,
        terminated: bool = False,
        truncated: bool = False,
        observation: Any = None,
        mask: np.ndarray | None = None,
    ) -> None:
        """The episode is over.

        Args:
            terminated: nothing comes after the last action.
            truncated: it is only cut off here; `observation` is what is seen now, and `mask` which
                actions would be legal. Without it the last step is left out, since nobody knows
                what it led to.
            observation: not needed if terminated.

        Raises:
            ValueError: unless it is either terminated or truncated.
        """
        seen: Seen | None = None
        if truncated and observation is not None and self._fragments.recording is not None:
            one, legal = self._seen(observation, mask)
            seen = {self._agent: one}, {self._agent: legal}, None
        self._fragments.end(terminated, truncated, seen)
        self._memory, self._is_plain = None, False

    def _seen(
        self, observation: Any, mask: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What is shown, once it was looked at."""
        seat = self._seat
        if seat is None or self._fragments.life is None:
            contract, seats = self._fragments.contract, self._fragments.seats()
            state_of(None, contract)
            seat = self._seat = contract.seats[seats[self._agent]]
            self._is_plain = not seat.masked
        return seen_of(self._agent, observation, mask, seat)
