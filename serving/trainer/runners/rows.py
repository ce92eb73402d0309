"""Fragments as the rows that the algorithms of `marlserve.policies` learn from.

`policies.sampling.sequences` says what they are. A fragment of T steps is cut into rows of at most
so many steps; where policies have a memory it is one row, since what they remember is said of its
first step alone.
"""

import numpy as np
from ray.rllib.core.columns import Columns

from marlserve.policies.sampling.sequences import (
    ACTION_MASK,
    ACTIONS,
    ACTIVE,
    FIRST,
    HIDDEN,
    LENGTH,
    OBS,
    PER_OBSERVATION,
    REWARDS,
    STATE,
    TERMINATED,
    Sequences,
)
from marlserve.serving.trainer.runners.joint import Joint
from marlserve.serving.wire.steps import TERMINATED as IS_TERMINATED
from marlserve.serving.wire.steps import Part, Steps


class Rows:
    """See the module.

    Args:
        row_steps: L, at most.
        hidden_shape: of each agent's memory; () if nobody has one.
        keeps_chances: rows have log-probabilities.
    """

    def __init__(
        self, joint: Joint, row_steps: int, hidden_shape: tuple[int, ...], keeps_chances: bool
    ):
        self._joint, self._row_steps = joint, row_steps
        self._hidden_shape, self._keeps_chances = hidden_shape, keeps_chances
        spaces = list(joint.observation_spaces.values())
        shapes = {space.shape for space in spaces}
        # Of the largest, flat, if they differ; `OwnSpaces` cuts them.
        self._shape = shapes.pop() if len(shapes) == 1 else (max(map(np.prod, shapes)),)
        dtype = np.result_type(*(space.dtype for space in spaces))
        self._dtype = np.dtype(np.float32) if dtype == np.float64 else dtype
        actions = joint.actions
        self._has_masks = actions.needs_mask or any(seat.masked for seat in joint.seats)

    def sequences(self, fragments: list[Steps]) -> list[Sequences]:
        """All of them together; nothing of nothing."""
        parts = [self._rows(steps) for steps in fragments]
        return [Sequences.concatenate(parts)] if parts else []

    def _rows(self, steps: Steps) -> Sequences:
        total = len(steps)
        length = min(self._row_steps, total)
        starts = np.arange(0, total, length)
        columns = {}
        for name, column in self._columns(steps, len(starts) * length).items():
            every = np.arange(length + 1 if name in PER_OBSERVATION else length)
            columns[name] = column[starts[:, None] + every]
        lengths = np.minimum(total - starts, length)
        columns[LENGTH] = lengths
        columns[FIRST] = starts + steps.first_step == 0
        columns[TERMINATED] = (starts == starts[-1]) & (steps.ending == IS_TERMINATED)
        # What a row sees last is the first that the next one sees; past the end there is nothing.
        if self._hidden_shape:
            columns[HIDDEN] = self._hidden(steps)
        return Sequences(columns)

    def _columns(self, steps: Steps, size: int) -> dict[str, np.ndarray]:
        """Columns of one long row, [size (+ 1), N, ...], zero where nothing is."""
        joint, total, count = self._joint, len(steps), len(steps.parts)
        observations = np.zeros((size + 1, count, *self._shape), self._dtype)
        active = np.zeros((size + 1, count), bool)
        actions = np.zeros((size, count, *joint.actions.shape), joint.actions.dtype)
        rewards = np.zeros((size, count), np.float32)
        chances = np.zeros((size, count), np.float32)
        for agent, part in enumerate(steps.parts):
            t = len(part)
            if t:
                _put(observations, agent, self._seen(agent, part))
                _put(actions, agent, part.actions)
                rewards[:t, agent] = part.rewards
                active[: t + (t == total), agent] = True
                if part.log_probabilities is not None:
                    chances[:t, agent] = part.log_probabilities
        columns = {OBS: observations, ACTIVE: active, ACTIONS: actions, REWARDS: rewards}
        if self._keeps_chances:
            columns[Columns.ACTION_LOGP] = chances
        if self._has_masks:
            columns[ACTION_MASK] = self._masks(steps, size)
        if steps.states is not None:
            states = columns[STATE] = np.zeros((size + 1, steps.states.shape[1]), np.float32)
            states[: total + 1] = steps.states
        return columns

    def _seen(self, agent: int, part: Part) -> np.ndarray:
        """What the module sees, [t + 1, *O]."""
        if not self._joint.has_index:
            return part.observations
        index = np.zeros((len(part.observations), len(self._joint.agents)), np.float32)
        index[:, agent] = 1.0
        return np.concatenate([part.observations, index], axis=1)

    def _masks(self, steps: Steps, size: int) -> np.ndarray:
        """[size + 1, N, H, A]: action 0 alone for who has left, nothing past the end."""
        legal = self._joint.actions.legal
        assert legal is not None  # there are masks
        total, count = len(steps), len(steps.parts)
        masks = np.zeros((size + 1, count, *legal.shape[-2:]), bool)
        masks[: total + 1, ..., 0] = True
        for agent, (seat, part) in enumerate(zip(self._joint.seats, steps.parts, strict=True)):
            t = len(part)
            seen = t + 1 if t == total else t
            own = masks[:seen, agent]
            own[...] = legal if legal.ndim == 2 else legal[agent]
            if part.masks is not None:
                components, values = seat.actions.heads
                own[:, :components, :values] = part.masks[:seen]
        return masks

    def _hidden(self, steps: Steps) -> np.ndarray:
        """[1, N, *hidden]."""
        hidden = np.zeros((1, len(steps.parts), *self._hidden_shape), np.float32)
        for agent, part in enumerate(steps.parts):
            if part.memory is not None:
                hidden[0, agent] = part.memory.reshape(self._hidden_shape)
        return hidden


def _put(wide: np.ndarray, agent: int, values: np.ndarray) -> None:
    """Write an agent's values [t, *own shape] into those of all, [size, N, *shape]."""
    count, shape = len(values), wide.shape[2:]
    if values.shape[1:] == shape:
        wide[:count, agent] = values
    else:
        flat = values.reshape(count, -1)
        wide[:count, agent, : flat.shape[1]] = flat
