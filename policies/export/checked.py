"""The door of the evaluators: what they are given is looked at before it is used."""

import numpy as np

from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.spaces import Numbers

Arrays = dict[str, np.ndarray]
NUMBERS = "fiub"  # numpy's kinds of what observations may be


def checked_observations(file: PolicyFile, observations: Arrays, batch: int | None) -> Arrays:
    """The observations as float32, {agent: [B, *O]}.

    Args:
        batch: the B that they must have; None: any one, the same for all agents.

    Raises:
        ValueError: for an agent without a policy, another shape, and what is not finite.
    """
    checked: Arrays = {}
    for agent, observation in observations.items():
        shape = file.networks[file.network_of(agent)].observation_space.shape
        given = np.asarray(observation)
        if given.ndim != len(shape) + 1 or given.shape[1:] != shape:
            wanted = ", ".join(["B", *map(str, shape)])
            raise ValueError(
                f"observation of {agent} has shape {given.shape}; expected is [{wanted}] for B "
                "episodes side by side"
            )
        if given.dtype.kind not in NUMBERS:
            raise ValueError(f"observation of {agent} is {given.dtype}; it must be numbers")
        checked[agent] = given.astype(np.float32, copy=False)
        if not np.isfinite(checked[agent]).all():
            raise ValueError(f"observation of {agent} has values that are not finite")
        batch = len(given) if batch is None else batch
        if len(given) != batch:
            raise ValueError(
                f"observation of {agent} has a batch axis of {len(given)}; of the others, and "
                f"since the last reset(), it is {batch}"
            )
    return checked


def checked_masks(
    file: PolicyFile, masks: Arrays | None, observations: Arrays
) -> dict[str, np.ndarray | None]:
    """The mask of each agent, bool [B, H, A]; None if all is legal, and for `Box`, which has none.

    Args:
        observations: what `checked_observations` gives, of the agents that are to act.

    Raises:
        ValueError: if one is missing, or has another shape.
    """
    checked: dict[str, np.ndarray | None] = dict.fromkeys(observations)
    if masks is None:
        return checked
    for agent, observation in observations.items():
        actions = file.networks[file.network_of(agent)].actions
        if isinstance(actions, Numbers):
            continue
        if agent not in masks:
            raise ValueError(f"there is no mask of {agent}; there are {sorted(masks)}")
        mask, expected = np.asarray(masks[agent]), (len(observation), *actions.heads)
        if mask.shape != expected:
            raise ValueError(f"mask of {agent} has shape {mask.shape}; expected is {expected}")
        checked[agent] = mask.astype(bool)
    return checked
