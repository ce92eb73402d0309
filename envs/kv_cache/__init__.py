"""A data centre compresses KV caches as strongly as load and the price of electricity ask for.

Agents       operator. It decides every step_s seconds how the requests that arrive are served.
Observation  [F] float32 in [-1, 1]: queue, servers, recent outcomes, price, past arrivals, time and
             the last action, by `features`; `observe` makes it of what is `Measured`. Nothing of
             the future.
Action       Discrete: a configuration of the KV cache, from the strongest compression (fewest
             seconds and joules, lowest quality) to the full cache; with enable_deny the last action
             turns requests away. With action="continuous", Box(-1, 1, (1,)): as many bins of equal
             width, in the same order.
Reward       `REWARDS[config.reward]`: "profit" in dollars, or "source". With service_floor there is
             a constraint beside it: `costs` of a step are the requests that were not served, less
             those that the floor allows.
Episode      truncated after episode_hours; never terminated.
Reference    Li et al.: SnapKV, NeurIPS 2024, https://arxiv.org/abs/2404.14469 (the compression);
             Patel et al.: Splitwise, ISCA 2024, https://arxiv.org/abs/2311.18677 (the requests)

Requests follow a recorded or synthetic demand, and cost what prompts of a measured profile took:
seconds, joules and quality under each configuration. A request keeps the configuration of its
arrival, so that an action still shows in what completes one to five steps later.

Presets: SYNTHETIC needs no files. REALISTIC plays eight-hour windows of a recorded week, given
by path, with a load that 200 servers can nearly carry; in SERVICE_FLOOR 93 % of all requests are to
be served. SOURCE_COMPATIBLE has the arrivals and the reward of the
public system whose measured values the tests reproduce.
"""

from functools import partial

from marlserve.envs import parallel
from marlserve.envs.kv_cache.baselines import BASELINES
from marlserve.envs.kv_cache.config import (
    PRESETS,
    REALISTIC,
    SERVICE_FLOOR,
    SOURCE_COMPATIBLE,
    SYNTHETIC,
    Config,
)
from marlserve.envs.kv_cache.observation import Measured, features, observe
from marlserve.envs.kv_cache.problem import Problem
from marlserve.envs.kv_cache.rewards import REWARDS

__all__ = [
    "BASELINES",
    "PRESETS",
    "REALISTIC",
    "REWARDS",
    "SERVICE_FLOOR",
    "SOURCE_COMPATIBLE",
    "SYNTHETIC",
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
