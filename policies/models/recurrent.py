"""How modules use the networks of `gru`: one step to act, whole rows to learn.

A module whose network has a memory is given, and gives back, its state under "h", and its other
columns have a time axis of one step. A feed-forward one has neither.
"""

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from marlserve.policies.models.gru import FlatNetwork, PerComponentNetwork
from marlserve.policies.sampling.sequences import ACTION_MASK

_STATE_KEY = "h"


def initial_state(network: FlatNetwork | PerComponentNetwork) -> dict[str, Tensor]:
    """What `get_initial_state` of a module is that acts with this network."""
    return {_STATE_KEY: torch.zeros(network.hidden_shape)} if network.hidden_shape else {}


def seen(batch: dict) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What to act on: observations [1, n, *O], mask [1, n, H, A], hidden state [n, *hidden]."""
    observations, mask = batch[Columns.OBS].float(), batch.get(ACTION_MASK)
    if Columns.STATE_IN not in batch:
        return observations.unsqueeze(0), None if mask is None else mask.unsqueeze(0), None
    mask = None if mask is None else mask.transpose(0, 1)
    return observations.transpose(0, 1), mask, batch[Columns.STATE_IN][_STATE_KEY]


def acted(actions: Tensor, hidden: Tensor | None) -> dict:
    """A module's outputs, of actions [1, n, *C] and the hidden state after them."""
    if hidden is None:
        return {Columns.ACTIONS: actions.squeeze(0)}
    return {Columns.ACTIONS: actions.transpose(0, 1), Columns.STATE_OUT: {_STATE_KEY: hidden}}


def unrolled(
    network: FlatNetwork | PerComponentNetwork,
    observations: Tensor,
    hidden: Tensor | None,
    burn_in: int,
    first: Tensor,
    after: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Whole rows: the features [T, R, ..., F], and the memory [R, *hidden] after the burn-in.

    No gradient passes from later steps to the first `burn_in` of a row, unless the row starts an
    episode: they only warm up the memory (Kapturowski et al. 2019, R2D2).

    Args:
        observations: [T, R, *O].
        hidden: [R, *hidden] before them, zeros if None.
        burn_in: steps; 0 is taken where rows have no more than that.
        first: [R] bool, the row starts an episode.
        after: [R, *hidden], the memory after the burn-in of rows that start no episode, in place
            of the network's own. Without a burn-in, it is that of all rows.
    """
    if not network.hidden_shape:
        return network.body(observations, None)[0], None
    if not 0 < burn_in < len(observations):
        hidden = hidden if after is None else after
        return network.body(observations, hidden)[0], hidden
    early, hidden = network.body(observations[:burn_in], hidden)
    assert hidden is not None  # the network has a memory
    after = hidden.detach() if after is None else after
    hidden = torch.where(first.view(-1, *(1,) * (hidden.ndim - 1)), hidden, after)
    late, _ = network.body(observations[burn_in:], hidden)
    return torch.cat([early, late]), hidden
