"""The episodes of one agent, as the program lives through them, one after the other."""

import time

import numpy as np

from marlserve.serving.client.books import Books
from marlserve.serving.client.decision import Decision
from marlserve.serving.client.link import Link
from marlserve.serving.client.outbox import Outbox
from marlserve.serving.client.playing import Playing
from marlserve.serving.client.recording import Life, Recording
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.steps import GOES_ON, TERMINATED, TRUNCATED


class Episode:
    """See the module; of one thread.

    Args:
        agent: its name.
    """

    def __init__(
        self, agent: str, settings: ClientSettings, books: Books, outbox: Outbox, link: Link
    ):
        self._agent, self._settings = agent, settings
        self._books, self._outbox, self._link = books, outbox, link
        self._playing: Playing | None = None
        self._recording: Recording | None = None
        self._life: Life | None = None

    def act(self, observation: np.ndarray) -> Decision:
        """What to do, given what is seen now, [*O].

        A newer policy is played at once. If it learns from its own steps only, the fragment before
        ends here, so that none has two versions.

        Raises:
            ValueError: for an observation of another shape, or not finite.
        """
        start_s = time.perf_counter()
        newest = self._link.newest
        if newest is None:
            return self._fallback(start_s)
        outputs = newest.outputs(observation)
        recording = self._recording
        if recording is not None and self._must_end(recording, newest):
            self._close(observation, GOES_ON)
            recording = None
        if recording is None:
            recording = self._begun(newest)
        action, chance = newest.choose(outputs, self._books.random)
        index = recording.add(observation, action, chance, outputs, newest.version)
        chosen = action if newest.has_components else action[0]
        decision = Decision(self._books, chosen, newest.version, chance, recording, index)
        recording.ids.append(decision.id)
        self._books.open[decision.id] = decision
        self._books.times_s.append(time.perf_counter() - start_s)
        return decision

    def end(
        self,
        terminated: bool = False,
        truncated: bool = False,
        observation: np.ndarray | None = None,
    ) -> None:
        """The episode is over.

        Args:
            terminated: nothing comes after the last action.
            truncated: it is only cut off here; `observation` is what is seen now. Without it the
                last step is left out, since nobody knows what it led to.
            observation: [*O]; not needed if terminated.

        Raises:
            ValueError: unless it is either terminated or truncated.
        """
        if terminated == truncated:
            raise ValueError(
                f"terminated is {terminated} and truncated is {truncated}; one of them must be"
            )
        if (recording := self._recording) is not None:
            if observation is None and truncated:
                observation = recording.take_back()
            elif observation is None:
                observation = recording.observations[recording.count - 1]
            self._close(observation, TERMINATED if terminated else TRUNCATED)
        self._life = None

    def abandon(self) -> None:
        """The program stops in the midst of it: what is known is sent."""
        if self._recording is not None:
            self.end(truncated=True)

    def _must_end(self, recording: Recording, newest: Playing) -> bool:
        """Whether the next step belongs to another fragment."""
        if recording.count == recording.most_steps or recording.run != newest.run:
            return True
        contract = self._link.contract
        return contract is not None and contract.on_policy and recording.version != newest.version

    def _begun(self, newest: Playing) -> Recording:
        contract = self._link.contract
        assert contract is not None  # it came before the policy
        if self._life is None:
            self._life = Life(self._agent, self._books.new_episode())
        most_steps = min(self._settings.most_steps, contract.most_steps)
        self._recording = Recording(contract, self._life, newest.run, most_steps)
        return self._recording

    def _close(self, following: np.ndarray, ending: pb.Ending) -> None:
        recording, self._recording = self._recording, None
        if recording is not None and recording.count:
            recording.close(following, ending, self._settings.reward_deadline_s)
            self._outbox.put(recording)

    def _fallback(self, start_s: float) -> Decision:
        with self._books.lock:
            self._books.fallbacks += 1
        given = self._settings.fallback_action
        decision = Decision(self._books, list(given) if isinstance(given, tuple) else given)
        self._books.times_s.append(time.perf_counter() - start_s)
        return decision
