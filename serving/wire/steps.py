"""A fragment as columns: T consecutive steps of one episode, with a part for each agent."""

from dataclasses import dataclass, replace

import numpy as np

from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.arrays import message_of

GOES_ON, TERMINATED, TRUNCATED = pb.GOES_ON, pb.TERMINATED, pb.TRUNCATED
_PER_STEP = ("actions", "rewards", "log_probabilities", "outputs")
_PER_OBSERVATION = ("observations", "masks")


@dataclass(frozen=True)
class Part:
    """What `Part` of trainer.proto says, of an agent that acted in t steps.

    Attributes:
        observations: [t + 1, *O], in the dtype of the space; [0, *O] if t is 0.
        actions: [t] or [t, H] int64, or [t, *C] float32.
        rewards: [t] float32.
        masks: [t + 1, H, A] uint8, or None.
        log_probabilities: [t] float32, or None.
        outputs: [t, N] float32, of the network, or None.
        memory: [M] float32, before the first step, or None.
    """

    return_before: float
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    masks: np.ndarray | None = None
    log_probabilities: np.ndarray | None = None
    outputs: np.ndarray | None = None
    memory: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def earned(self) -> float:
        """The sum of all rewards of the episode so far."""
        return self.return_before + float(self.rewards.sum(dtype=np.float64))

    def cut(self, steps: int) -> "tuple[Part, Part]":
        """What belongs to the first steps, and what to the others, whose memory is not known."""
        first = self._of(slice(0, steps))
        rest = self._of(slice(steps, None))
        return first, replace(rest, return_before=first.earned, memory=None)

    def _of(self, some: slice) -> "Part":
        count = len(self.rewards[some])
        seen = slice(some.start, some.start + count + 1 if count else some.start)
        columns = {name: getattr(self, name) for name in (*_PER_STEP, *_PER_OBSERVATION)}
        cut = {
            name: column[seen if name in _PER_OBSERVATION else some]
            for name, column in columns.items()
            if column is not None
        }
        return replace(self, **cut)

    def message(self) -> pb.Part:
        """As it is sent."""
        columns = {name: getattr(self, name) for name in (*_PER_STEP, *_PER_OBSERVATION, "memory")}
        messages = {name: message_of(x) for name, x in columns.items() if x is not None}
        return pb.Part(return_before=self.return_before, **messages)


@dataclass(frozen=True)
class Steps:
    """What `Fragment` of trainer.proto says, with the number left out.

    Attributes:
        versions: [T] int64.
        times_s: [T] float64.
        parts: one for each seat of the contract.
        states: [T + 1, S] float32, or None.
    """

    agent: str
    episode: int
    first_step: int
    ending: pb.Ending
    run: str
    versions: np.ndarray
    times_s: np.ndarray
    parts: tuple[Part, ...]
    states: np.ndarray | None = None
    session: str = ""

    def __len__(self) -> int:
        return len(self.versions)

    @property
    def only(self) -> Part:
        """The part of the only agent.

        Raises:
            ValueError: if there are several.
        """
        (part,) = self.parts
        return part

    @property
    def is_over(self) -> bool:
        """Whether the episode is."""
        return self.ending != GOES_ON

    def cut(self, steps: int) -> "tuple[Steps, Steps]":
        """The first steps, less than all of them, and the others."""
        parts = [part.cut(steps) for part in self.parts]
        first = replace(
            self,
            ending=GOES_ON,
            versions=self.versions[:steps],
            times_s=self.times_s[:steps],
            parts=tuple(first for first, _ in parts),
            states=None if self.states is None else self.states[: steps + 1],
        )
        rest = replace(
            self,
            first_step=self.first_step + steps,
            versions=self.versions[steps:],
            times_s=self.times_s[steps:],
            parts=tuple(rest for _, rest in parts),
            states=None if self.states is None else self.states[steps:],
        )
        return first, rest

    def message(self, number: int) -> pb.Fragment:
        """As it is sent."""
        return pb.Fragment(
            number=number,
            agent=self.agent,
            episode=self.episode,
            first_step=self.first_step,
            ending=self.ending,
            run=self.run,
            versions=message_of(self.versions),
            times_s=message_of(self.times_s),
            states=None if self.states is None else message_of(self.states),
            parts=[part.message() for part in self.parts],
        )
