"""What the log has, as arrays: states, actions, rewards and the states after them.

The state after a decision is that at the next decision of the same service: that of the next
request. The time in between is not counted, and no decision is the last one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from marlserve.serving.experience.events import Experience
from marlserve.serving.replica_state import checked


class Transition(NamedTuple):
    """One of them; states are plain numbers."""

    state: list[float]
    action: int
    reward: float
    next_state: list[float]


class Transitions(NamedTuple):
    """n of them."""

    states: np.ndarray  # [n, S]
    actions: np.ndarray  # [n]
    rewards: np.ndarray  # [n]
    next_states: np.ndarray  # [n, S]


def transition(experience: Experience, num_replicas: int) -> Transition:
    """What one experience teaches about so many replicas.

    Raises:
        ValueError: if it is of another number of replicas, something is missing or out of range, or
            no decision follows it.
    """
    decision, following = experience.decision, experience.following
    try:
        if following is None:
            raise ValueError("no decision follows")
        action, reward = int(decision["action"]), float(experience.outcome["reward"])
        if not 0 <= action < num_replicas or not np.isfinite(reward):
            raise ValueError(f"action is {action}, reward is {reward}")
        states = [_state(body, num_replicas) for body in (decision, following)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"experience {experience.id} teaches nothing: {error!r}") from error
    return Transition(states[0], action, reward, states[1])


def stacked(transitions: Iterable[Transition]) -> Transitions:
    """As arrays."""
    states, actions, rewards, following = zip(*transitions, strict=True)
    return Transitions(
        np.array(states, np.float32),
        np.array(actions, np.int64),
        np.array(rewards, np.float32),
        np.array(following, np.float32),
    )


def _state(decision: dict, num_replicas: int) -> list[float]:
    if decision["num_replicas"] != num_replicas:
        raise ValueError(f"it is of {decision['num_replicas']} replicas")
    return checked(decision["state"], num_replicas)
