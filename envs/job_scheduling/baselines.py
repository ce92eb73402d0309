"""The rules as policies, each without backfilling and, by the name of rule_backfill, with it.

They choose jobs, also where a learned policy inspects; but for area_reserving, an inspector by rule
of area_backfill. Backfilling is EASY, unless the Config has another kind. The oracles order by true
run times what others order by requested ones. Of several clusters' schedulers those in
ACROSS_CLUSTERS send jobs to others, with backfilling, and the others send none.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.job_scheduling.config import Config
from marlserve.envs.job_scheduling.observation import Measured
from marlserve.envs.job_scheduling.rules import RULES, Rule, first
from marlserve.envs.job_scheduling.sending import (
    Gains,
    at_submission,
    by_length,
    gains_s,
    sending,
)

ByAgent = dict[str, np.ndarray]


def ruled(rule: Rule, problem) -> Policy:
    """What chooses by a rule, and sends no job to another cluster."""

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        chosen = first(rule, problem.measured()).reshape(problem.num_envs, -1)
        return {agent: chosen[:, i] for i, agent in enumerate(problem.agents)}

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
        told_s = np.where(job >= 0, run_s, 0.0).reshape(np.shape(seen.requested_s))
        return rule(seen._replace(requested_s=told_s))

    return ruled(told, problem)


def reserving(problem) -> Policy:
    """What rejects jobs of over 10 minutes that would leave less than a quarter of all processors
    free: of 12 such pairs of numbers the best one on 128 training episodes, where all are alike."""

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        seen = problem.measured()
        requested_s, processors, rejections = (
            np.take_along_axis(x, seen.proposed[:, None], axis=1)[:, 0]
            for x in (seen.requested_s, seen.processors, seen.rejections)
        )
        full = seen.free_processors - processors < 0.25 * seen.num_processors
        rejects = (requested_s > 600.0) & full & (rejections < problem.config.max_rejections)
        return {"scheduler": np.where(rejects, 0, 1)}

    return act


def without_backfilling(config: Config) -> Config:
    """The same, with jobs chosen one by one, and none backfilled."""
    return replace(config, action="choose", backfill="none")


def with_backfilling(config: Config) -> Config:
    """The same, with jobs chosen one by one, and backfilling, EASY unless the Config has it."""
    kind = "easy" if config.backfill == "none" else config.backfill
    return replace(config, action="choose", backfill=kind)


def inspecting(config: Config) -> Config:
    """The same, where what area chooses may be rejected, each job three times."""
    with_it = with_backfilling(config)
    return replace(with_it, action="inspect", base="area", max_rejections=3)


_POLICIES: dict[str, Callable[..., Policy]] = {
    "random": at_random,
    **{name: partial(ruled, rule) for name, rule in RULES.items()},
}
# 600 s: of 300 to 5,400 s what is best for area on 128 training episodes of GRID.
_WAYS: dict[str, Gains] = {
    "sender_initiated": at_submission,
    "reallocating": gains_s,
    "by_length": partial(by_length, longest_s=600.0),
}
BASELINES = {
    **{name: Baseline(policy, without_backfilling) for name, policy in _POLICIES.items()},
    **{f"{name}_backfill": Baseline(x, with_backfilling) for name, x in _POLICIES.items()},
    **{
        f"{name}_{way}": Baseline(partial(sending, RULES[name], gains), with_backfilling)
        for way, gains in _WAYS.items()
        for name in ("fcfs", "sjf", "area")
    },
    "area_reserving": Baseline(reserving, inspecting),
    **{
        f"oracle_{name}": Baseline(partial(foreseeing, RULES[name]), with_backfilling, oracle=True)
        for name in ("sjf", "f1")
    },
}
ACROSS_CLUSTERS = tuple(name for name in BASELINES if name.endswith(tuple(_WAYS)))
ONE_CLUSTER = ("area_reserving",)  # that cannot play with several
