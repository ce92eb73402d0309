"""What the log has, as arrays: observations, actions, rewards and the observations after them.

The observation after a decision is that at the next decision of the same service: that of the next
request. The time in between is not counted, and no decision is the last one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from marlserve.serving.experience.events import Experience
from marlserve.serving.training.logged import Logged


class Transition(NamedTuple):
    """One of them."""

    observation: np.ndarray  # [*O] float32
    action: int
    reward: float
    next_observation: np.ndarray  # [*O] float32
    next_allowed: np.ndarray  # [R] bool


class Transitions(NamedTuple):
    """n of them."""

    observations: np.ndarray  # [n, *O] float32
    actions: np.ndarray  # [n]
    rewards: np.ndarray  # [n]
    next_observations: np.ndarray  # [n, *O] float32
    next_allowed: np.ndarray  # [n, R] bool


def transition(experience: Experience, logged: Logged) -> Transition:
    """What one experience teaches.

    Raises:
        ValueError: if it is of another number of replicas, something is missing or out of range, or
            no decision follows it.
    """
    decision, following = experience.decision, experience.following
    try:
        if following is None:
            raise ValueError("no decision follows")
        action, reward = int(decision["action"]), float(experience.outcome["reward"])
        if not 0 <= action < logged.num_replicas or not np.isfinite(reward):
            raise ValueError(f"action is {action}, reward is {reward}")
        now, then = logged.decided(decision), logged.decided(following)
        if then.allowed.shape != (logged.num_replicas,) or not then.allowed.any():
            raise ValueError(f"allowed are {then.allowed}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"experience {experience.id} teaches nothing: {error!r}") from error
    return Transition(now.observation, action, reward, *then)


def stacked(transitions: Iterable[Transition]) -> Transitions:
    """As arrays."""
    observations, actions, rewards, following, allowed = zip(*transitions, strict=True)
    return Transitions(
        np.stack(observations),
        np.array(actions, np.int64),
        np.array(rewards, np.float32),
        np.stack(following),
        np.stack(allowed),
    )
