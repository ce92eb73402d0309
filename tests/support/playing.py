"""Playing array problems with random actions, and comparing what they show."""

import numpy as np

from marlserve.envs.base import Problem

SEEDS = [3, 1, 2**40]


def sampled(problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Random actions of all agents in all copies, [B, N, *A]."""
    space = problem.action_space
    space.seed(int(rng.integers(2**31)))
    shape = (problem.num_envs, len(problem.agents), *space.shape)
    count = problem.num_envs * len(problem.agents)
    return np.stack([space.sample() for _ in range(count)]).reshape(shape)


def advance(problem: Problem, actions: np.ndarray) -> tuple[np.ndarray, ...]:
    """What a step shows. Copies whose episode ends with it begin the next one."""
    shown = problem.step(actions)
    ended = np.flatnonzero(shown[2] | shown[3])
    if ended.size:
        return problem.reset(copies=ended), *shown[1:]
    return shown


def play(problem: Problem, steps: int, seeds=None, actions_seed: int = 0) -> list[np.ndarray]:
    """All that `steps` random steps show, after a reset, [B, ...] each."""
    rng = np.random.default_rng(actions_seed)
    shown = [problem.reset(seeds), problem.state()]
    for _ in range(steps):
        shown += [*advance(problem, sampled(problem, rng)), problem.state()]
    return [*shown, *problem.metrics().values()]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
