"""Observations follow from plain numbers, and what could be deployed is told no more than these.

A log of an episode, written as JSON and read again, gives bit-identical observations. Heuristics
that are no oracles play on nothing but what `Blind` shows.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from kv_cases import CROWDED
from playing import SEEDS, sampled

from marlserve import envs
from marlserve.envs import kv_compression

every_problem = pytest.mark.parametrize("name", envs.names())
SETTINGS: dict[str, dict] = {
    "load_balance": {"slow_servers": 2, "num_balancers": 3, "episode_s": 10.0},
    "kv_compression": {"context": ("tag", "diversity", "attention", "block_attention", "hidden")},
}
# Whatever a problem measures, and what its manual and its Config say already.
KNOWN = {"name", "agents", "num_envs", "config", "action_space", "observation_space", "measured"}
KNOWN_TOO = {
    "kv_cache": {"action_names", "profile", "full_score"},  # the profile is measured beforehand
    "kv_compression": {"arm_names", "prompts"},  # the prompt's number, which "random" is drawn by
    "replica_routing": {"outcomes"},  # what gateways measured of their own requests
}


NAMED = [
    pytest.param(module.features, module.Problem, config, id=f"{name}-{preset}")
    for name in envs.names()
    for module in [envs.module(name)]
    for preset, config in module.PRESETS.items()
    if not getattr(config, "prompts_path", "")  # a model to download reads these
]


class Blind:
    """A problem that shows what a deployment could know, and raises if asked for more."""

    def __init__(self, problem: envs.Problem):
        self._problem = problem

    def __getattr__(self, attribute: str):
        problem = object.__getattribute__(self, "_problem")
        if attribute not in KNOWN | KNOWN_TOO.get(problem.name, set()):
            raise AssertionError(f"a policy that is no oracle reads problem.{attribute}")
        return getattr(problem, attribute)


def config_of(name: str, request) -> object:
    """Short episodes in which much happens; where something is learned, with a table."""
    if name == "kv_cache":
        return CROWDED
    if name == "kv_compression":
        return request.getfixturevalue("small_kv_compression")
    return replace(envs.module(name).Config(), **SETTINGS.get(name, {}))


def to_json(measured) -> object:
    """Plain numbers, texts and lists of what a problem measured, by their names."""
    if isinstance(measured, tuple):
        return {field: to_json(value) for field, value in measured._asdict().items()}
    if isinstance(measured, list):
        return [to_json(value) for value in measured]
    return measured.tolist() if isinstance(measured, np.ndarray) else measured


def from_json(logged, made: Callable):
    """As the problem's module takes it."""
    if isinstance(logged, list) and isinstance(logged[0], dict):
        return [made(**each) for each in logged]
    return made(**logged) if isinstance(logged, dict) else logged


@every_problem
def test_a_log_of_plain_numbers_gives_the_same_observations(name):
    module = envs.module(name)
    config = CROWDED if name == "kv_cache" else module.Config(**SETTINGS.get(name, {}))
    problem, rng, log = module.Problem(config, 3), np.random.default_rng(0), []
    seen = [problem.reset(SEEDS)]
    log.append(json.dumps(to_json(problem.measured())))
    for _ in range(30 if name != "kv_compression" else 3):
        _, _, terminated, truncated = problem.step(sampled(problem, rng))
        if (terminated | truncated).any():
            problem.reset(copies=np.flatnonzero(terminated | truncated))
        seen.append(problem.observations())
        log.append(json.dumps(to_json(problem.measured())))
    for line, expected in zip(log, seen, strict=True):
        measured = from_json(json.loads(line), module.Measured)
        if isinstance(measured, list) and name == "kv_compression":  # prompts differ in length
            shown = np.stack([module.observe(each, config) for each in measured])
        else:
            shown = module.observe(measured, config)
        assert shown.dtype == np.float32
        np.testing.assert_array_equal(shown.reshape(expected.shape), expected)


@pytest.mark.parametrize(("features", "problem", "config"), NAMED)
def test_every_number_that_is_seen_has_a_name_of_its_own(features, problem, config):
    names = features(config)
    assert len(names) == problem(config).observation_space.shape[-1]
    assert len({*names}) == len(names)


@pytest.mark.slow
def test_the_numbers_of_a_prompt_are_named_by_groups(small_kv_compression):
    """Whether it is read or looked up."""
    groups = tuple(name for name in kv_compression.GROUPS if name != "text")
    looked_up = replace(small_kv_compression, context=groups)
    for config in (looked_up, replace(looked_up, table_path="")):
        names = kv_compression.features(config)
        assert len(names) == kv_compression.Problem(config).observation_space.shape[-1]
        assert names.count("length") == names.count("hidden_0") == 1
        assert names[0].startswith("tag_")


@every_problem
def test_what_was_measured_stays_as_it_was(name):
    module = envs.module(name)
    problem = module.Problem(module.Config(**SETTINGS.get(name, {})), 2)
    problem.reset(SEEDS[:2])
    problem.step(sampled(problem, np.random.default_rng(1)))
    measured = problem.measured()
    before = json.dumps(to_json(measured))
    problem.reset()
    problem.step(sampled(problem, np.random.default_rng(2)))
    assert json.dumps(to_json(problem.measured())) != before
    assert json.dumps(to_json(measured)) == before


@every_problem
def test_only_oracles_read_the_simulator(name, request):
    module = envs.module(name)
    for baseline_name, baseline in module.BASELINES.items():
        if baseline.oracle:
            continue
        problem = module.Problem(baseline.configure(config_of(name, request)), 2)
        told = baseline.policy(problem), baseline.policy(Blind(problem))
        observations = problem.reset([1, 2])
        for _ in range(3):
            by_agent = {agent: observations[:, i] for i, agent in enumerate(problem.agents)}
            actions, blind = (policy(by_agent) for policy in told)
            for agent in problem.agents:
                np.testing.assert_array_equal(actions[agent], blind[agent], err_msg=baseline_name)
            joint = np.stack([actions[agent] for agent in problem.agents], axis=1)
            observations, _, terminated, truncated = problem.step(joint)
            if (terminated | truncated).any():
                observations = problem.reset()


@every_problem
def test_oracles_do_read_it(name, request):
    """Or the guard above sees nothing. Some are told by the simulator itself, as dispatch is."""
    module = envs.module(name)
    oracles = [baseline for baseline in module.BASELINES.values() if baseline.oracle]
    assert oracles
    for baseline in oracles:
        config = baseline.configure(config_of(name, request))
        problem = module.Problem(config, 2)
        observations = problem.reset([1, 2])
        by_agent = {agent: observations[:, i] for i, agent in enumerate(problem.agents)}
        if getattr(config, "dispatch", "").startswith("global"):
            continue
        with pytest.raises(AssertionError, match="a policy that is no oracle reads problem"):
            baseline.policy(Blind(problem))(by_agent)
