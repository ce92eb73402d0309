"""Gateways choose, for every request, which replica of a language model serves it.

Agents       gateway_0 ... gateway_{G-1}; one by default. Requests of one session come to the same.
Observation  [R, 24] float32 in [0, 1]: for each replica, in any order, what the gateway knows of it
             and of the request that it has to send now, by `FEATURES`; `observe` makes it of what
             is `Measured`. Nothing of the replica's queue but what was scraped. With view="costs"
             [R, 25]: also what the request costs there. With view="source" [max(3, R) + 7] numbers
             that the agent service has: see `source`.
Action       Discrete(R), the replica; those known to be down, or to have a cache that is too small
             for the prompt, are masked. A gateway that has no request in this round acts too, to no
             effect.
Reward       `REWARDS[config.reward]`: by default minus the seconds that the decision costs all
             requests, its own and those it slows down, as foreseen when it is made: credit comes at
             once, and the sum over an episode is about minus the time that all requests took. Those
             until a first token count ttft_weight times, in addition.
Episode      truncated as the requests of episode_s seconds are sent, and then they are served to
             the end; never terminated. Before it, warm_up_s of the same traffic by fewest requests;
             metrics leave that out, and rewards but for what is still under way. A step is a round:
             the next request, and those that come to other gateways within round_s. Simulated are
             engines that batch continuously, see sims.replica, and what gateways learn of them, see
             sims.gateways.
Reference    Kwon et al.: Efficient memory management for large language model serving with
             PagedAttention, SOSP 2023, https://arxiv.org/abs/2309.06180

Presets: LONG has contexts of very different lengths, MIXED the same on fast and slow replicas, and
UNKNOWN does not tell which are fast; GATEWAYS are four that know replicas as of a while ago, and
LARGE is MIXED sixteen times over. In SHIFTING, load and traffic change every half a minute, and in
DEGRADED replicas slow down and fail. CHAT has conversations that fit the caches, TIGHT caches that
are too small for them. SOURCE is the agent service's own problem: three replicas, ten numbers, and
a reward of latency and balance.
"""

from functools import partial

from marlserve.envs import parallel
from marlserve.envs.replica_routing.baselines import BASELINES
from marlserve.envs.replica_routing.config import (
    CHAT,
    DEGRADED,
    GATEWAYS,
    LARGE,
    LONG,
    MIXED,
    PRESETS,
    SHIFTING,
    SOURCE,
    TIGHT,
    UNKNOWN,
    Config,
)
from marlserve.envs.replica_routing.observation import FEATURES, Measured, features, observe
from marlserve.envs.replica_routing.problem import Problem
from marlserve.envs.replica_routing.rewards import REWARDS

__all__ = [
    "BASELINES",
    "CHAT",
    "DEGRADED",
    "FEATURES",
    "GATEWAYS",
    "LARGE",
    "LONG",
    "MIXED",
    "PRESETS",
    "REWARDS",
    "SHIFTING",
    "SOURCE",
    "TIGHT",
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
