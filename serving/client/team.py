"""The episodes of agents that act together, as the program lives through them, one after the other.

    team = agent.team()
    decisions = team.act({"left": seen, "right": other})      # {name: Decision}
    team.end(terminated=True)

All that the trainer's contract names act in each step, until they leave: who is not shown anything
has left the episode, and does not come back.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from marlserve.policies.export.network import ANYONE
from marlserve.serving.client.books import Books
from marlserve.serving.client.decision import Decision
from marlserve.serving.client.link import Link
from marlserve.serving.client.outbox import Outbox
from marlserve.serving.client.playing import Choice, Playing
from marlserve.serving.client.recording import Life, Recording
from marlserve.serving.client.seeing import seen_of
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import GOES_ON, TERMINATED, TRUNCATED

Arrays = Mapping[str, np.ndarray]
Masks = Mapping[str, np.ndarray | None]


class Team:
    """See the module; of one thread.

    Args:
        alone: who acts in episodes of its own, where the contract has a seat for anyone; "":
            all that the contract names.
    """

    def __init__(
        self, alone: str, settings: ClientSettings, books: Books, outbox: Outbox, link: Link
    ):
        self._alone, self._settings = alone, settings
        self._books, self._outbox, self._link = books, outbox, link
        self._recording: Recording | None = None
        self._life: Life | None = None
        self._here: set[str] = set()  # who has not left
        self._memories: dict[str, np.ndarray | None] = {}

    def act(
        self, observations: Arrays, masks: Masks | None = None, state: np.ndarray | None = None
    ) -> dict[str, Decision]:
        """What they do, given what each sees now.

        A newer policy is played at once. If it learns from its own steps only, the fragment before
        ends here, so that none has two versions. With `when_full` "wait" a fragment begins once
        there is room for it, which is waited for here.

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
        start_s = time.perf_counter()
        newest = self._link.newest
        if newest is None:
            return {agent: self._fallback(agent, start_s) for agent in observations}
        seen, legal, state = self._seen(observations, masks, state)
        choices = self._choices(newest, seen, legal)
        recording = self._recording
        if recording is not None and self._must_end(recording, newest):
            recording.see(seen, legal, state)
            self._close(GOES_ON)
            recording = None
        if recording is None:
            teams = self._books.teams
            room = self._outbox.room(len(teams) + (self not in teams))
            latest = self._link.newest
            if latest is not None and latest is not newest:  # it came while there was no room
                newest, choices = latest, self._choices(latest, seen, legal)
            recording = self._begun(newest, room)
        recording.see(seen, legal, state)
        index = recording.add(choices, newest.version)
        if len(seen) != len(self._here):
            self._here = set(seen)
        for agent, choice in choices.items():
            if choice.memory is not None:
                self._memories[agent] = choice.memory
        return self._decided(choices, newest.version, recording, index, start_s)

    def end(
        self,
        terminated: bool = False,
        truncated: bool = False,
        observations: Arrays | None = None,
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
        if terminated == truncated:
            raise ValueError(
                f"terminated is {terminated} and truncated is {truncated}; one of them must be"
            )
        recording = self._recording
        if recording is not None:
            if truncated and observations is not None:
                recording.see(*self._seen(observations, masks, state))
            elif truncated:
                recording.take_back()
            self._close(TERMINATED if terminated else TRUNCATED)
        self._life, self._memories = None, {}
        self._books.teams.discard(self)

    def abandon(self) -> None:
        """The program stops in the midst of it: what is known is sent."""
        if self._recording is not None:
            self.end(truncated=True)

    def _seen(
        self, observations: Arrays, masks: Masks | None, state: np.ndarray | None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray | None], np.ndarray | None]:
        """What is shown, once it was looked at."""
        contract = self._contract
        seats = self._seats(contract) if self._life is None else self._life.seats
        here = set(seats) if self._life is None else self._here
        if not observations or not observations.keys() <= here:
            raise ValueError(f"{list(observations)} are shown something; there are {sorted(here)}")
        seen, legal = seen_of(observations, masks, seats, contract)
        if state is not None or contract.state_size:
            state = _checked_state(state, contract)
        return seen, legal, state

    @property
    def _contract(self) -> Contract:
        contract = self._link.contract
        assert contract is not None  # it came before the policy
        return contract

    def _seats(self, contract: Contract) -> dict[str, str]:
        """The names in the contract of who plays.

        Raises:
            ValueError: if it is for several agents and this is for one, or the other way round.
        """
        if bool(self._alone) != contract.is_for_anyone:
            how = "team()" if self._alone else "episode()"
            raise ValueError(
                f"{contract.policy!r} is learned for {list(contract.seats)}; use {how}"
            )
        return {self._alone: ANYONE} if self._alone else {name: name for name in contract.seats}

    def _choices(self, newest: Playing, seen: Arrays, legal: Masks) -> dict[str, Choice]:
        """What each of them does."""
        random, memories = self._books.random, self._memories
        return {
            agent: newest.choose(agent, seen[agent], legal[agent], memories.get(agent), random)
            for agent in seen
        }

    def _must_end(self, recording: Recording, newest: Playing) -> bool:
        """Whether the next step belongs to another fragment."""
        if recording.count == recording.most_steps or recording.run != newest.run:
            return True
        return self._contract.on_policy and recording.version != newest.version

    def _begun(self, newest: Playing, room: float) -> Recording:
        contract = self._contract
        if self._life is None:
            self._life = Life(self._alone, self._seats(contract), self._books.new_episode())
            self._here = set(self._life.seats)
            self._books.teams.add(self)
        most_steps = int(min(self._settings.most_steps, contract.most_steps, room))
        run, memories = newest.run, self._memories
        self._recording = Recording(contract, self._life, run, most_steps, memories)
        return self._recording

    def _close(self, ending: pb.Ending) -> None:
        recording, self._recording = self._recording, None
        if recording is None:
            return
        if recording.count:
            recording.close(ending, self._settings.reward_deadline_s)
            self._outbox.put(recording)
        else:  # its only step was left out
            self._books.forget(recording.ids)

    def _decided(
        self,
        choices: dict[str, Choice],
        version: int,
        recording: Recording,
        index: int,
        start_s: float,
    ) -> dict[str, Decision]:
        decisions, books = {}, self._books
        for agent, choice in choices.items():
            chance, where = choice.log_probability, (recording, agent, index)
            decision = decisions[agent] = Decision(books, choice.told, version, chance, where)
            recording.ids.append(decision.id)
            books.open[decision.id] = decision
        books.times_s.append((time.perf_counter() - start_s) / len(choices))
        return decisions

    def _fallback(self, agent: str, start_s: float) -> Decision:
        given: Any = self._settings.fallback_action
        if isinstance(given, dict):
            if agent not in given:
                raise ValueError(f"{agent!r} has no fallback_action; there are {sorted(given)}")
            given = given[agent]
        with self._books.lock:
            self._books.fallbacks += 1
        decision = Decision(self._books, list(given) if isinstance(given, tuple | list) else given)
        self._books.times_s.append(time.perf_counter() - start_s)
        return decision


def _checked_state(state: np.ndarray | None, contract: Contract) -> np.ndarray:
    """The state as float32, [S]."""
    if state is not None and contract.state_size:
        given = np.asarray(state, np.float32)
        if given.shape == (contract.state_size,) and np.isfinite(given).all():
            return given
    has = None if state is None else np.shape(state)
    raise ValueError(
        f"the state has shape {has}; it must be {(contract.state_size,)}, of finite numbers, or "
        "None if that is 0"
    )
