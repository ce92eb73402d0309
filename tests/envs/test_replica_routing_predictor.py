"""A rule that learns latencies as it routes."""

from dataclasses import replace

import numpy as np
import pytest

from marlserve.envs.replica_routing import GATEWAYS, MIXED, Problem
from marlserve.envs.replica_routing.baselines import learning
from marlserve.envs.replica_routing.predictor import LatencyPredictor, Outcomes

SHORT = {"episode_s": 40.0, "warm_up_s": 10.0}


class Known:
    """A gateway that told each of two replicas' times: the second takes twice as long."""

    def __init__(self, num_requests=400):
        self.ttft_s = np.full((1, num_requests), np.nan)
        self.tpot_s, self.replica = self.ttft_s.copy(), np.full((1, num_requests), -1)
        self.number = 0

    def outcomes(self):
        present = np.array([[self.number]])
        return Outcomes(present, self.replica.copy(), self.ttft_s.copy(), self.tpot_s.copy())


def test_it_finds_times_that_are_linear():
    known, rng = Known(), np.random.default_rng(0)
    learned = LatencyPredictor(known, output_tokens=100.0, ridge=1e-6, memory=1e6)
    problem = Problem(replace(MIXED, speeds=(1.0, 1.0), **SHORT))
    problem.reset([0])
    template = problem.measured()
    for number in range(400):
        known.number = number
        there = {name: 16.0 * rng.random((1, 1, 2)) for name in ("requests", "new_tokens")}
        prompt = 1e4 * rng.random((1, 1))
        seen = template._replace(
            **there, request_prompt_tokens=prompt, matched_tokens=np.zeros((1, 1, 2))
        )
        scores = learned(seen, problem.config)
        slow = np.array([1.0, 2.0])
        ttft_s = slow * (0.1 + 2e-5 * prompt + 0.01 * there["requests"][0, 0])
        tpot_s = slow * (0.01 + 0.001 * there["requests"][0, 0])
        if number > 350:
            weights = problem.config.e2e_weight + problem.config.ttft_weight, 1.0
            expected = weights[0] * ttft_s + weights[1] * 100.0 * tpot_s
            np.testing.assert_allclose(scores[0], expected, rtol=1e-3)
        replica = number % 2
        known.replica[0, number] = replica
        known.ttft_s[0, number] = ttft_s[0, replica]
        known.tpot_s[0, number] = tpot_s[replica]


@pytest.mark.parametrize("config", [MIXED, GATEWAYS], ids=["one", "four"])
def test_outcomes_are_what_has_been_measured(config):
    problem = Problem(replace(config, **SHORT), 2)
    problem.reset([0, 1])
    act = learning(LatencyPredictor)(problem)
    for _ in range(60):
        actions = act({})
        problem.step(np.stack([actions[agent] for agent in problem.agents], axis=1))
    requests, now_ns = problem.gateways.replicas.requests, problem.gateways.copies["clock_ns"]
    told = problem.outcomes()
    answered = (requests["first_token_ns"] >= 0) & (requests["status"] > 0)
    np.testing.assert_array_equal(~np.isnan(told.ttft_s), answered)
    assert (requests["last_token_ns"] <= now_ns[:, None]).all()
    first = np.argwhere(~np.isnan(told.tpot_s))[-1]
    request = requests[tuple(first)]
    took_s = (request["last_token_ns"] - request["first_token_ns"]) / 1e9
    assert told.tpot_s[tuple(first)] * (request["output_tokens"] - 1) == pytest.approx(took_s)
    assert (told.present >= 0).sum() == problem.gateways.copies["count"].sum()


def test_it_goes_on_while_another_copy_begins_anew():
    """As it is where episodes end one by one: the other copy has more requests now."""
    config = replace(MIXED, **SHORT)
    problem, alone = Problem(config, 2), Problem(config)
    problem.reset([0, 1])
    alone.reset([0])
    act, act_alone = (learning(LatencyPredictor)(x) for x in (problem, alone))
    for step in range(80):
        actions = act({})["gateway_0"]
        assert actions[0] == act_alone({})["gateway_0"][0]
        problem.step(actions[:, None])
        alone.step(actions[:1, None])
        if step == 40:
            problem.config = replace(config, load=(1.0, 1.0))
            problem.reset([5], copies=[1])
    assert problem.outcomes().replica.shape[1] > alone.outcomes().replica.shape[1]
