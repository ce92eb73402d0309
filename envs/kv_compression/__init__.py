"""For each prompt, how its KV cache is compressed, so that the answer stays what it was.

Agents       compressor. It decides once for each prompt.
Observation  [F] float32 in [-1, 1]: the groups of features in config.context, one after the other,
             see `observation`: what the prompt names itself, how its tokens repeat, where its own
             attention goes; `observe` makes it of what is `Measured`. Nothing of the questions
             that follow.
Action       Discrete: an arm of config.arms. A compression method with its parameters, as
             "sigmoid_0.1_16", "h2o" or "snapkv_16", and maybe its own budget, as "h2o@32".
Reward       `REWARDS[config.reward]` of the answers with the compressed and with the full cache, in
             [0, 1], less config.entry_price for each entry kept.
Episode      one step: a contextual bandit.
Reference    Jo and Shin: A2SF, 2024, https://arxiv.org/abs/2407.20485 (scores that forget);
             Zhang et al.: H2O, 2023, https://arxiv.org/abs/2306.14048;
             Li et al.: SnapKV, 2024, https://arxiv.org/abs/2404.14469

A language model reads the prompt, its cache is compressed, and only then come the questions, which
it answers from what was kept. `envs.sims.kv_compression` has the models, the cache and the methods,
and synthetic prompts that want different ones; prompts may also be read from a file in LongBench's
format, by any model that transformers loads.

Presets: UNTAGGED and TAGGED, whose prompts do not name their type, or do; and with a model that
talks and prompts of real text, smollm2_5, smollm2_10 and smollm2_25, where so many percent of the
entries may stay, and smollm2 with the arms of all three. With config.table_path, outcomes are
looked up in a table that was made before. `costs` measures what answers cost.
"""

from functools import partial

from marlserve.envs import parallel
from marlserve.envs.kv_compression.baselines import BASELINES
from marlserve.envs.kv_compression.config import PRESETS, TAGGED, UNTAGGED, Config
from marlserve.envs.kv_compression.features import features
from marlserve.envs.kv_compression.observation import GROUPS, Measured, observe
from marlserve.envs.kv_compression.problem import Problem
from marlserve.envs.kv_compression.rewards import REWARDS

__all__ = [
    "BASELINES",
    "GROUPS",
    "PRESETS",
    "REWARDS",
    "TAGGED",
    "UNTAGGED",
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
