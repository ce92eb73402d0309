"""Several load balancers, each with its own partial view, share one pool of servers.

Agents       lb_0 ... lb_{K-1}. Every flow reaches one of them at random and is sent to a server
             at once, by shortest expected delay over the balancer's own flows and its weights:
             argmin_j (q_ij + 1) / w_ij. The agents set the weights.
Observation  [M, 14] float32 in [0, 1]: what this balancer has seen of each server, by `FEATURES`;
             `observe` makes it of what is `Measured`. No capacity, no speed, no other balancer's
             flows.
Action       one weight per server, in force until the next step: MultiDiscrete([L] * M), indices
             of `weight_levels`, or with action="weights" Box(0.1, 10, (M,)).
Reward       `REWARDS[config.reward]`, the same for the team or each agent's own.
Episode      truncated after episode_s seconds of traffic; never terminated. Before it, warm_up_s of
             the same traffic under the same dispatch with weights by cores; metrics and rewards
             leave that out. Simulated are processor-sharing servers, see sims.cluster.
Reference    Yao, Ding, Clausen: Multi-agent reinforcement learning for network load balancing in
             data center, CIKM 2022, https://arxiv.org/abs/2201.11727

Presets: MODERATE and LARGE are the paper's testbeds, QUAD is four balancers over sixteen servers,
DEGRADED is MODERATE with servers that slow down and recover unannounced, and in UNKNOWN how fast
each is to begin with is drawn for every episode, and not told.
"""

from functools import partial

from marlserve.envs import parallel
from marlserve.envs.load_balance.baselines import BASELINES
from marlserve.envs.load_balance.config import (
    DEGRADED,
    LARGE,
    MODERATE,
    PRESETS,
    QUAD,
    UNKNOWN,
    Config,
)
from marlserve.envs.load_balance.observation import FEATURES, Measured, features, observe
from marlserve.envs.load_balance.problem import Problem
from marlserve.envs.load_balance.rewards import REWARDS

__all__ = [
    "BASELINES",
    "DEGRADED",
    "FEATURES",
    "LARGE",
    "MODERATE",
    "PRESETS",
    "QUAD",
    "REWARDS",
    "UNKNOWN",
    "Config",
    "Measured",
    "Problem",
    "env",
    "features",
    "observe",
    "parallel_env",
    "raw_env",
]

parallel_env = partial(parallel.make, Problem, Config)
raw_env = partial(parallel.make_raw_aec, Problem, Config)
env = partial(parallel.make_aec, Problem, Config)
