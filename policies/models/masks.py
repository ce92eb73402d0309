"""Which values of an action component may be chosen, and the best of them.

A mask is bool, True for what is legal; None stands for one that is True everywhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from marlserve.policies.sampling.sequences import ACTION_MASK


def component_mask(sizes: Sequence[int]) -> Tensor | None:
    """Components with fewer values than the largest one: the rest are never legal. [H, A]."""
    legal = torch.arange(max(sizes)) < torch.as_tensor(sizes)[:, None]
    return None if legal.all() else legal


def combined(mask: Tensor | None, own: Tensor | None) -> Tensor | None:
    """What both an environment's mask, of any dtype, and the space's own one allow."""
    mask = None if mask is None else mask.bool()
    if own is None:
        return mask
    return own if mask is None else mask & own


def single_mask(batch: dict) -> Tensor | None:
    """The mask of a batch whose actions have one component, without that axis: [..., A]."""
    return batch[ACTION_MASK].bool().squeeze(-2) if ACTION_MASK in batch else None


def best(values: Tensor, mask: Tensor | None) -> Tensor:
    """Index of the largest legal value, [...]; index 0 where nothing is legal (padding)."""
    if mask is not None:
        values = values.masked_fill(~mask, -torch.inf)
    return values.argmax(-1)
