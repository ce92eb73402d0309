"""A scheduler of a cluster chooses which of the jobs that wait is started next.

Agents       scheduler. It decides as often as a job is to be started. With `clusters`
             scheduler_0 ... scheduler_{K-1}, one of each cluster; see below.
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

With several clusters jobs are submitted to each of them. Its scheduler starts them as a lone one
does, or sends one that waits to another cluster: of Discrete(K V) the first V start the job of a
slot, the next V send it to the next cluster, and so on. It is there transfer_s later. Masked are
clusters that are too small for it or where it was before, and more than max_migrations of one job;
what is masked stands for the first action that is not. A scheduler is also asked when a job comes
while its cluster is kept for the chosen one: then it may send others, or choose the chosen one
again, and all stay. All clusters are simulated in one order of time, see sims.backfill_grid, and a
step is a round: who has to decide at that time does so on what is known as it begins; the others
act too, to no effect, with one action that is not masked. Observations are [K V, 37], a row for
each action: what is seen of the job, and by `grid.FEATURES` what the row's cluster has to do and
by how much sooner the job would start there, by estimate. The reward is that of all jobs, or with
reward_scope="agent" of those in its own cluster; who sends a job is charged at once for its way.

When more than V jobs wait, half of the slots show the oldest and half the shortest of the others.
Logs are drawn by trace "lublin", or read by trace "swf".

Presets: LUBLIN has exact requested times; in ESTIMATED users request up to 5 times what they need;
INSPECTED has the inspector's action; GRID is three clusters, one of which has more than it can do.
"""

from functools import partial

from marlserve.envs import parallel
from marlserve.envs.job_scheduling.baselines import BASELINES
from marlserve.envs.job_scheduling.config import (
    ESTIMATED,
    GRID,
    INSPECTED,
    LUBLIN,
    PRESETS,
    Config,
)
from marlserve.envs.job_scheduling.observation import FEATURES, Measured, features, observe
from marlserve.envs.job_scheduling.problem import Problem
from marlserve.envs.job_scheduling.rewards import REWARDS

__all__ = [
    "BASELINES",
    "ESTIMATED",
    "FEATURES",
    "GRID",
    "INSPECTED",
    "LUBLIN",
    "PRESETS",
    "REWARDS",
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
