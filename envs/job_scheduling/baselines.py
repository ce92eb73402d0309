"""The rules as policies, each without backfilling and, by the name of rule_backfill, with it.

They choose jobs, also where a learned policy inspects. Backfilling is EASY, unless the Config has
another kind. The oracles order by true run times what others order by requested ones.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.job_scheduling.config import Config
from marlserve.envs.job_scheduling.observation import Measured
from marlserve.envs.job_scheduling.rules import RULES, Rule, first

ByAgent = dict[str, np.ndarray]


def ruled(rule: Rule, problem) -> Policy:
    """What chooses by a rule."""

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        return {"scheduler": first(rule, problem.measured())}

    return act


def at_random(problem) -> Policy:
    """Any job that is shown; drawn alike for each batch of episodes."""
    rng = np.random.default_rng(0)
    return ruled(lambda seen: rng.random(np.shape(seen.wait_s)), problem)


def foreseeing(rule: Rule, problem) -> Policy:
    """What chooses by a rule that is told true run times for requested ones."""

    def told(seen: Measured) -> np.ndarray:
        job = problem.cluster.visible["job"]
        run_s = np.take_along_axis(problem.cluster.jobs["run_s"], np.maximum(job, 0), axis=1)
        return rule(seen._replace(requested_s=np.where(job >= 0, run_s, 0.0)))

    return ruled(told, problem)


def without_backfilling(config: Config) -> Config:
    """The same, with jobs chosen one by one, and none backfilled."""
    return replace(config, action="choose", backfill="none")


def with_backfilling(config: Config) -> Config:
    """The same, with jobs chosen one by one, and backfilling, EASY unless the Config has it."""
    kind = "easy" if config.backfill == "none" else config.backfill
    return replace(config, action="choose", backfill=kind)


_POLICIES: dict[str, Callable[..., Policy]] = {
    "random": at_random,
    **{name: partial(ruled, rule) for name, rule in RULES.items()},
}
BASELINES = {
    **{name: Baseline(policy, without_backfilling) for name, policy in _POLICIES.items()},
    **{f"{name}_backfill": Baseline(x, with_backfilling) for name, x in _POLICIES.items()},
    **{
        f"oracle_{name}": Baseline(partial(foreseeing, RULES[name]), with_backfilling, oracle=True)
        for name in ("sjf", "f1")
    },
}
