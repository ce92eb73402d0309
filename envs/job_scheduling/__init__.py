"""A scheduler of a cluster chooses which of the jobs that wait is started next.

Agents       scheduler. It decides as often as a job is to be started.
Observation  [V, 19] float32 in [0, 1]: for each of the V = max_visible jobs that are shown, by
             arrival, what is known of it and of the cluster, by `FEATURES`; `observe` makes it of
             what is `Measured`. Slots without a job are 0. Not the true run time, and nothing of
             the future. With action="inspect", [21]: the row of the job that the rule proposes,
             how often it was rejected, and what waiting costs.
Action       Discrete(V), the job: it starts at once if its processors are free; else the cluster is
             kept for it until they are, but for what is backfilled. Slots without a job are masked,
             and stand for the oldest job. With action="inspect", Discrete(2): 1 accepts what
             the rule `base` proposes, 0 rejects it until a job comes or ends, and for rejection_s
             at most; after max_rejections of a job, 0 is masked, and accepts.
Reward       `REWARDS[config.reward]`: by default minus how much the jobs that wait add to the mean
             bounded slowdown of the episode, as the time goes on.
Episode      terminated as the last of num_jobs jobs in a row has started, anywhere in a log; the
             cluster is empty at first. Simulated is a cluster with backfilling, see sims.backfill.
Reference    Zhang et al.: RLScheduler: an automated HPC batch job scheduler using reinforcement
             learning, SC 2020, https://arxiv.org/abs/1910.08925; Zhang et al.: SchedInspector: a
             batch job scheduling inspector using reinforcement learning, HPDC 2022

When more than V jobs wait, half of the slots show the oldest and half the shortest of the others.
Logs are drawn by trace "lublin", or read by trace "swf".

Presets: LUBLIN has exact requested times; in ESTIMATED users request up to 5 times what they need;
INSPECTED has the inspector's action.
"""

from functools import partial

from marlserve.envs import parallel
from marlserve.envs.job_scheduling.baselines import BASELINES
from marlserve.envs.job_scheduling.config import ESTIMATED, INSPECTED, LUBLIN, PRESETS, Config
from marlserve.envs.job_scheduling.observation import FEATURES, Measured, observe
from marlserve.envs.job_scheduling.problem import Problem
from marlserve.envs.job_scheduling.rewards import REWARDS

__all__ = [
    "BASELINES",
    "ESTIMATED",
    "FEATURES",
    "INSPECTED",
    "LUBLIN",
    "PRESETS",
    "REWARDS",
    "Config",
    "Measured",
    "Problem",
    "env",
    "observe",
    "parallel_env",
    "raw_env",
]

parallel_env = partial(parallel.make, Problem, Config)
raw_env = partial(parallel.make_raw_aec, Problem, Config)
env = partial(parallel.make_aec, Problem, Config)
