"""Small problems of KV compression, a table, and how both are looked at."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from marlserve.envs.kv_compression import GROUPS, Config, Problem, table

WHOLE = 160  # tokens of a prompt
SMALL = Config(
    budgets=(8, 24),
    num_prompts=40,
    prompt_tokens=WHOLE,
    num_facts=18,
    tagged=True,
)
VARIED = replace(  # arms of every kind
    SMALL,
    arms=(
        *("h2o", "tova", "a2sf_0.9", "snapkv_16", "sigmoid_0.1_16", "sigmoid_10_48", "h2o@32"),
        *("full", f"window_4@{WHOLE}"),
    ),
)
NO_TEXT = tuple(group for group in GROUPS if group != "text")


def built(folder: Path, config: Config) -> Config:
    """The problem with a table of both splits, which is made where it is missing."""
    for split in ("train", "test"):
        part = replace(config, split=split)
        for first in table.missing(folder, part):
            table.build(folder, part, first)
    return replace(config, table_path=str(folder))


def start(config: Config, num_envs: int, seed: int = 0) -> Problem:
    """Copies at their first prompts."""
    problem = Problem(config, num_envs)
    problem.reset(range(seed, seed + num_envs))
    return problem


def step(problem: Problem, arms) -> np.ndarray:
    """Rewards [B] of arms, one for all copies or one each."""
    return problem.step(np.broadcast_to(arms, problem.num_envs)[:, None])[1][:, 0]
