"""What a program shows of its agents, with action masks taken apart."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.seats import MASK, OBSERVATIONS


def seen_of(
    observations: Mapping[str, Any],
    masks: Mapping[str, Any] | None,
    seats: Mapping[str, str],
    contract: Contract,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray | None]]:
    """Observations [*O], and masks [H, A] bool, by agent.

    Args:
        observations: arrays, or dicts of "observation" and "action_mask".
        masks: of those whose observations are arrays.
        seats: names in the contract.

    Raises:
        ValueError: for a dict without an observation, and masks that do not fit.
    """
    seen: dict[str, np.ndarray] = {}
    legal: dict[str, np.ndarray | None] = {}
    for agent, shown in observations.items():
        seat = contract.seats[seats[agent]]
        mask = None if masks is None else masks.get(agent)
        if isinstance(shown, dict):
            key = next((key for key in OBSERVATIONS if key in shown), None)
            if key is None:
                raise ValueError(f"{agent} is shown {sorted(shown)}, none of {OBSERVATIONS}")
            mask = shown.get(MASK, mask)
            shown = shown[key]
        seen[agent] = shown
        legal[agent] = seat.legal(mask) if seat.masked or mask is not None else None
    return seen, legal
