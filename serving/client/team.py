"""The episodes of agents that act together, as the program lives through them, one after the other.

    team = agent.team()
    decisions = team.act({"left": seen, "right": other})      # {name: Decision}
    team.end(terminated=True)

All that the trainer's contract names act in each step, until they leave: who is not shown anything
has left the episode, and does not come back.
"""

from collections.abc import Mapping
from time import monotonic
from typing import Any

import numpy as np

from marlserve.serving.client.books import Books
from marlserve.serving.client.decision import Decision
from marlserve.serving.client.fragments import Fragments, Masks, Seen
from marlserve.serving.client.link import Link
from marlserve.serving.client.outbox import Outbox
from marlserve.serving.client.playing import Choice, Playing
from marlserve.serving.client.recording import Recording
from marlserve.serving.client.seeing import seen_of, state_of
from marlserve.serving.client.settings import ClientSettings

Shown = Mapping[str, Any]


class Team:
    """See the module; of one thread."""

    def __init__(self, settings: ClientSettings, books: Books, outbox: Outbox, link: Link):
        self._books, self._link = books, link
        self._fragments = Fragments("", settings, books, outbox, link)
        self._here: set[str] = set()  # who has not left
        self._memories: dict[str, np.ndarray | None] = {}

    def act(
        self, observations: Shown, masks: Masks | None = None, state: np.ndarray | None = None
    ) -> dict[str, Decision]:
        """What they do, given what each sees now.

        A newer policy is played at once; see `fragments` for what waits here.

        Args:
            observations: {agent: [*O]}, or {agent: {"observation": [*O], "action_mask": mask}}.
            masks: {agent: mask}, as `Seat.legal` takes it, if the contract has masks; all is
                legal for who has none.
            state: [S], of all of them together, if the contract has such.

        Raises:
            ValueError: for agents that are not those of the contract, or have left; observations of
                another shape, or not finite; masks that are not asked for, or allow nothing; and a
                state that is missing, or not asked for.
        """
        start_s = monotonic()
        fragments, newest = self._fragments, self._link.newest
        if newest is None:
            return {agent: fragments.fallback(agent, start_s) for agent in observations}
        seen = self._seen(observations, masks, state)
        choices = self._choices(newest, seen)
        if not fragments.has_room(newest):
            latest = fragments.turn(newest, seen, self._memories)
            if latest is not newest:
                newest, choices = latest, self._choices(latest, seen)
        recording = fragments.recording
        assert recording is not None
        recording.see(*seen)
        recording.step(newest.version, start_s)
        self._here = set(choices)
        self._memories = {agent: choice.memory for agent, choice in choices.items()}
        return self._decided(choices, newest.version, recording, start_s)

    def end(
        self,
        terminated: bool = False,
        truncated: bool = False,
        observations: Shown | None = None,
        masks: Masks | None = None,
        state: np.ndarray | None = None,
    ) -> None:
        """The episode is over.

        Args:
            terminated: nothing comes after the last actions.
            truncated: it is only cut off here; `observations`, `masks` and `state` are what is seen
                now. Without them the last step is left out, since nobody knows what it led to.
            observations: not needed if terminated.

        Raises:
            ValueError: unless it is either terminated or truncated, and as `act`.
        """
        seen: Seen | None = None
        if truncated and observations is not None and self._fragments.recording is not None:
            seen = self._seen(observations, masks, state)
        self._fragments.end(terminated, truncated, seen)
        self._memories = {}

    def _seen(self, observations: Shown, masks: Masks | None, state: np.ndarray | None) -> Seen:
        """What is shown, once it was looked at."""
        contract, seats = self._fragments.contract, self._fragments.seats()
        here = set(seats) if self._fragments.life is None else self._here
        if not observations or not observations.keys() <= here:
            raise ValueError(f"{list(observations)} are shown something; there are {sorted(here)}")
        seen: dict[str, np.ndarray] = {}
        legal: dict[str, np.ndarray | None] = {}
        for agent, shown in observations.items():
            mask, seat = (masks or {}).get(agent), contract.seats[seats[agent]]
            seen[agent], legal[agent] = seen_of(agent, shown, mask, seat)
        return seen, legal, state_of(state, contract)

    def _choices(self, newest: Playing, seen: Seen) -> dict[str, Choice]:
        """What each of them does."""
        observations, legal, _ = seen
        random, memories = self._books.random, self._memories
        return {
            agent: newest.choose(
                agent, observations[agent], legal[agent], memories.get(agent), random
            )
            for agent in observations
        }

    def _decided(
        self, choices: dict[str, Choice], version: int, recording: Recording, start_s: float
    ) -> dict[str, Decision]:
        decisions, books = {}, self._books
        for agent, choice in choices.items():
            track, decision_id = recording.tracks[agent], books.new_id()
            index = track.add(choice, decision_id)
            books.open[decision_id] = track
            decisions[agent] = Decision(
                books, decision_id, choice.told, version, choice.log_probability, track, index
            )
        books.times_s.append((monotonic() - start_s) / len(choices))
        return decisions
