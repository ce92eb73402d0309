"""What a program shows of an agent, with its action mask taken apart, and of all together."""

from typing import Any

import numpy as np

from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.seats import MASK, OBSERVATIONS, Seat


def seen_of(
    agent: str, shown: Any, mask: np.ndarray | None, seat: Seat
) -> tuple[np.ndarray, np.ndarray | None]:
    """The observation [*O], and the mask [H, A] bool, if there is one.

    Args:
        shown: an array, or a dict of "observation" and "action_mask".
        mask: if that is an array.

    Raises:
        ValueError: for a dict without an observation, and a mask that does not fit.
    """
    if isinstance(shown, dict):
        key = next((key for key in OBSERVATIONS if key in shown), None)
        if key is None:
            raise ValueError(f"{agent} is shown {sorted(shown)}, none of {OBSERVATIONS}")
        shown, mask = shown[key], shown.get(MASK, mask)
    return shown, seat.legal(mask) if seat.masked or mask is not None else None


def state_of(state: np.ndarray | None, contract: Contract) -> np.ndarray | None:
    """The state of all of them together, as float32 [S]; None if there is none.

    Raises:
        ValueError: for a state that is missing, not asked for, or not finite.
    """
    if state is None and not contract.state_size:
        return None
    if state is not None and contract.state_size:
        given = np.asarray(state, np.float32)
        if given.shape == (contract.state_size,) and np.isfinite(given).all():
            return given
    has = None if state is None else np.shape(state)
    raise ValueError(
        f"the state has shape {has}; it must be {(contract.state_size,)}, of finite numbers, or "
        "None if that is 0"
    )
