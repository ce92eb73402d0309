"""A rule that shows a learning policy what it would do itself, at every step.

Schmitt et al.: Kickstarting Deep Reinforcement Learning, 2018, https://arxiv.org/abs/1803.03835.
The rule is one of the problem's `BASELINES`, and sees what a baseline sees, an oracle the simulator
too; what was learned is asked for nothing but observations.
"""

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete

from marlserve import envs
from marlserve.envs.base import Problem

TEACHER_ACTIONS = "teacher_actions"  # a column of rows, [..., L, N, *C] as ACTIONS


class Teacher:
    """One of the baselines of the problem that is being played.

    Args:
        name: of the baseline.
        problem: B copies; the teacher looks on.

    Raises:
        ValueError: for what is no problem of `envs`, an unknown name, a baseline that plays under
            another Config, or actions that are numbers.
    """

    def __init__(self, name: str, problem: object):
        if not isinstance(problem, Problem):
            raise ValueError(
                f"teacher is {name!r}, a rule of a problem of marlserve.envs, and the environment "
                f"is a {type(problem).__name__}; leave teacher empty"
            )
        baselines = envs.module(problem.name).BASELINES
        if name not in baselines:
            raise ValueError(f"teacher is {name!r}; baselines of {problem.name} are {[*baselines]}")
        if baselines[name].configure(problem.config) != problem.config:
            raise ValueError(
                f"teacher is {name!r}, which plays {problem.name} under another Config; allowed is "
                "a baseline that acts as the policy does"
            )
        space = problem.action_space
        if not isinstance(space, Discrete | MultiDiscrete):
            raise ValueError(f"teacher is {name!r}; actions are {space}, and must be choices")
        self._name, self._problem, self._first = name, problem, np.asarray(space.start, np.int64)
        self._policy = baselines[name].policy(problem)

    def actions(self, observations: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """What it would do now, [B, N, *C] int64 from 0, given [B, N, *O] and masks [B, N, H, A].

        Raises:
            ValueError: for an action that the masks forbid, which nobody could learn.
        """
        agents = self._problem.agents
        seen = {agent: observations[:, i] for i, agent in enumerate(agents)}
        chosen = self._policy(seen, None)
        actions = np.stack([np.asarray(chosen[agent], np.int64) for agent in agents], 1)
        actions -= self._first
        if mask is not None:
            index = actions.reshape(*mask.shape[:-1], 1)
            if not np.take_along_axis(mask, index, -1).all():
                raise ValueError(f"teacher {self._name!r} chose an action that is masked")
        return actions
