"""From rows of all agents to one batch per policy, in which every agent's part is a row of its own.

For algorithms that learn each policy by itself. R rows with n agents of a policy make R * n rows:

    OBS           [R*n, L+1, *O]
    ACTIONS       [R*n, L, *C]
    REWARDS       [R*n, L]
    LOSS_MASK     [R*n, L]      bool, the step happened and the agent acted
    GOES_ON       [R*n, L]      float32, 0 where the agent's episode ended for good with this step
    IS_LAST       [R*n, L]      bool, the agent's last step in the row
    ACTION_MASK   [R*n, L+1, H, A]  bool, absent if all actions are legal
    FIRST         [R*n]         bool, the row starts an episode
    HIDDEN        [R*n, *hidden]    absent for feed-forward modules

and any further column of the rows, [R*n, L, ...]. A truncated episode goes on, as far as values
are concerned: the observation after the last step bootstraps it. An agent that becomes inactive
has ended.
"""

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from marlserve.policies.sampling.own_spaces import OwnSpaces
from marlserve.policies.sampling.sequences import (
    ACTIVE,
    FIRST,
    LENGTH,
    PER_ROW,
    STATE,
    TERMINATED,
    Sequences,
)

LOSS_MASK, GOES_ON, IS_LAST = Columns.LOSS_MASK, "goes_on", "is_last"
_OF_THE_TEAM = {STATE, ACTIVE, LENGTH, TERMINATED, FIRST}


def batch_by_policy(
    sequences: Sequences,
    groups: dict[str, np.ndarray],
    own: dict[str, OwnSpaces] | None = None,
) -> MultiAgentBatch:
    """What the learners are given, with the columns above.

    Args:
        sequences: R rows.
        groups: {module_id: indices of its agents}, as `acting.agent_groups` gives them.
        own: {module_id: spaces of its agents}; None if all agents have the same.
    """
    active, length = sequences[ACTIVE], sequences[LENGTH]
    acted = active[:, :-1] & sequences.valid()[..., None]  # [R, L, N]
    ends = np.arange(sequences.num_steps) == length[:, None] - 1  # [R, L]
    over = (ends & sequences[TERMINATED][:, None])[..., None] | ~active[:, 1:]
    columns = {
        LOSS_MASK: acted,
        GOES_ON: (~over).astype(np.float32),
        IS_LAST: acted & (ends[..., None] | ~active[:, 1:]),
    }
    columns |= {k: v for k, v in sequences.columns.items() if k not in _OF_THE_TEAM}
    batches = {}
    for module_id, index in groups.items():
        batch = {name: _rows(column, name, index) for name, column in columns.items()}
        batch[FIRST] = np.repeat(sequences[FIRST], len(index))
        if own is not None:
            batch = own[module_id].columns(batch, lead=2)
        batches[module_id] = SampleBatch(batch)
    return MultiAgentBatch(batches, env_steps=sequences.env_steps())


def _rows(column: np.ndarray, name: str, index: np.ndarray) -> np.ndarray:
    """[R, (time), N, ...] as [R*n, (time), ...]."""
    if name not in PER_ROW:
        column = np.moveaxis(column, 2, 1)
    return column[:, index].reshape(-1, *column.shape[2:])
