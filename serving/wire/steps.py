"""A fragment as columns: T consecutive steps of one agent in one episode."""

from dataclasses import dataclass

import numpy as np

from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.arrays import message_of

GOES_ON, TERMINATED, TRUNCATED = pb.GOES_ON, pb.TERMINATED, pb.TRUNCATED
_COLUMNS = (
    *("observations", "actions", "rewards", "log_probabilities", "outputs", "versions"),
    "times_s",
)


@dataclass(frozen=True)
class Steps:
    """What `Fragment` of trainer.proto says, with the number left out.

    Attributes:
        observations: [T + 1, *O], in the dtype of the space.
        actions: [T] or [T, H] int64.
        rewards, log_probabilities: [T] float32.
        outputs: [T, N] float32, of the network.
        versions: [T] int64.
        times_s: [T] float64.
    """

    agent: str
    episode: int
    first_step: int
    return_before: float
    ending: pb.Ending
    run: str
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    log_probabilities: np.ndarray
    outputs: np.ndarray
    versions: np.ndarray
    times_s: np.ndarray
    session: str = ""

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def is_over(self) -> bool:
        """Whether the episode is."""
        return self.ending != GOES_ON

    def cut(self, steps: int) -> "tuple[Steps, Steps]":
        """The first steps, less than all of them, and the others."""
        first = self._part(slice(0, steps), self.first_step, self.return_before, GOES_ON)
        earned = self.return_before + float(first.rewards.sum(dtype=np.float64))
        rest = self._part(slice(steps, len(self)), self.first_step + steps, earned, self.ending)
        return first, rest

    def _part(
        self, part: slice, first_step: int, return_before: float, ending: pb.Ending
    ) -> "Steps":
        columns = {name: getattr(self, name)[part] for name in _COLUMNS}
        columns["observations"] = self.observations[part.start : part.stop + 1]
        where = self.agent, self.episode, first_step, return_before, ending, self.run
        return Steps(*where, **columns, session=self.session)

    def message(self, number: int) -> pb.Fragment:
        """As it is sent."""
        return pb.Fragment(
            number=number,
            agent=self.agent,
            episode=self.episode,
            first_step=self.first_step,
            return_before=self.return_before,
            ending=self.ending,
            run=self.run,
            **{name: message_of(getattr(self, name)) for name in _COLUMNS},
        )
