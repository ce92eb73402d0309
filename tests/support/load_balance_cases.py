"""Episodes of load balancing under a baseline, and what arrives in them."""

import numpy as np

from marlserve.envs.load_balance import BASELINES, Config, Problem


def play(config: Config, baseline: str, copies: int = 8) -> tuple[Problem, np.ndarray]:
    """An episode of each copy under a baseline: the problem after it, and all rewards [T, B, K]."""
    baseline = BASELINES[baseline]
    problem = Problem(baseline.configure(config), copies)
    policy, observations, rewards = baseline.policy(problem), problem.reset(range(copies)), []
    over = np.zeros(copies, bool)
    while not over.any():
        actions = policy({agent: observations[:, i] for i, agent in enumerate(problem.agents)})
        joint = np.stack([actions[agent] for agent in problem.agents], axis=1)
        observations, reward, _, over = problem.step(joint)
        rewards.append(reward)
    return problem, np.array(rewards)


def remembered(problem: Problem) -> list[tuple]:
    """What the problem is going to give its cluster: copy, times, work, balancers and draws."""
    given, add = [], problem.cluster.add
    problem.cluster.add = lambda *jobs: (given.append(jobs), add(*jobs))
    return given
