"""Short episodes of routing, played by a rule."""

import numpy as np

from marlserve.envs import replica_routing
from marlserve.envs.replica_routing import BASELINES

SHORT = {"episode_s": 20.0, "warm_up_s": 10.0}


def played(config, policy="least_requests", num_envs=8, seed=0):
    """A problem that a rule played to the end, and the sums of its rewards, [B]."""
    problem = replica_routing.Problem(config, num_envs)
    observations = problem.reset(range(seed, seed + num_envs))
    act, total, over = BASELINES[policy].policy(problem), np.zeros(num_envs), np.zeros(num_envs) > 0
    while not over.all():
        seen = {agent: observations[:, i] for i, agent in enumerate(problem.agents)}
        actions = np.stack(list(act(seen).values()), axis=1)
        problem._running[:] = True  # those that are over stay as they are
        observations, rewards, _, truncated = problem.step(actions)
        total += rewards.sum(axis=1) * ~over
        over |= truncated
    return problem, total
