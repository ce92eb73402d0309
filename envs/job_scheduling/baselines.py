"""The rules as policies, each without backfilling and, by the name of rule_backfill, with it.

They choose jobs, also where a learned policy inspects; but for the _reserving ones, which inspect
by rule what area or f1 chooses. Backfilling is EASY, unless the Config has another kind. The
oracles order by true run times what others order by requested ones. Of several clusters' schedulers
those in ACROSS_CLUSTERS send jobs to others, with backfilling, and the others send none.
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
Backfilling = Callable[[Config], Config]


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
    free: of 12 such pairs of numbers the best one on 128 training episodes, where all are alike,
    with backfilling. Without, what would keep the cluster until enough is free is rejected, too."""
    kept = problem.config.backfill == "none"

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        seen = problem.measured()
        requested_s, processors, rejections = (
            np.take_along_axis(x, seen.proposed[:, None], axis=1)[:, 0]
            for x in (seen.requested_s, seen.processors, seen.rejections)
        )
        full = seen.free_processors - processors < 0.25 * seen.num_processors
        rejects = (requested_s > 600.0) & full | kept & (processors > seen.free_processors)
        return {"scheduler": np.where(rejects & (rejections < problem.config.max_rejections), 0, 1)}

    return act


def without_backfilling(config: Config) -> Config:
    """The same, with jobs chosen one by one, and none backfilled."""
    return replace(config, action="choose", backfill="none")


def with_backfilling(config: Config) -> Config:
    """The same, with jobs chosen one by one, and backfilling, EASY unless the Config has it."""
    kind = "easy" if config.backfill == "none" else config.backfill
    return replace(config, action="choose", backfill=kind)


def inspecting(how: Backfilling, base: str, max_rejections: int, config: Config) -> Config:
    """The same, with such backfilling, where a rule's choices may be rejected, so often each."""
    return replace(how(config), action="inspect", base=base, max_rejections=max_rejections)


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
# 72 rejections are half a day: the most of 6 to 72, which is best.
_RESERVING: dict[str, Backfilling] = {
    "f1_reserving": partial(inspecting, without_backfilling, "f1", 3),
    "area_reserving_backfill": partial(inspecting, with_backfilling, "area", 3),
    "f1_reserving_72": partial(inspecting, without_backfilling, "f1", 72),
}
BASELINES = {
    **{name: Baseline(policy, without_backfilling) for name, policy in _POLICIES.items()},
    **{f"{name}_backfill": Baseline(x, with_backfilling) for name, x in _POLICIES.items()},
    **{
        f"{name}_{way}": Baseline(partial(sending, RULES[name], gains), with_backfilling)
        for way, gains in _WAYS.items()
        for name in ("fcfs", "sjf", "area")
    },
    **{name: Baseline(reserving, configure) for name, configure in _RESERVING.items()},
    **{
        f"oracle_{name}": Baseline(partial(foreseeing, RULES[name]), with_backfilling, oracle=True)
        for name in ("sjf", "f1")
    },
}
ACROSS_CLUSTERS = tuple(name for name in BASELINES if name.endswith(tuple(_WAYS)))
ONE_CLUSTER = tuple(_RESERVING)  # that cannot play with several
