"""The search of the numbers of routing rules."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from marlserve.envs.replica_routing import MIXED, UNKNOWN, Problem
from marlserve.experiments import replica_routing
from marlserve.experiments.studies.replica_routing import tuning

SHORT = {"episode_s": 5.0, "warm_up_s": 2.0}


def test_numbers_are_spread_over_their_ranges_by_factors_where_they_are_positive():
    ranges = {"low": (0.0, 1.0), "factor": (1.0, 10_000.0)}
    points = pd.DataFrame(tuning.drawn(ranges, 64))
    for name, (low, high) in ranges.items():
        assert points[name].between(low, high).all()
    assert points["low"].median() == pytest.approx(0.5, abs=0.1)
    assert 50.0 < points["factor"].median() < 200.0


def test_the_best_of_each_rule_plays_once_and_says_what_it_is_best_at():
    found = pd.DataFrame(
        {
            "rule": ["kv_cost", "kv_cost", "size_split"],
            "prefill_weight": [np.nan, 7.0, np.nan],
            "speed_power": [np.nan, 1.5, np.nan],
            "long_tokens": [np.nan, np.nan, 5.0],
            "e2e": [2.0, 1.0, 3.0],
            "ttft": [0.1, 0.2, 0.3],
            "cost": [2.3, 1.6, 3.9],
        }
    )
    best = tuning.best(found, MIXED)
    assert [x.name for x in best] == [
        "kv_cost, tuned for e2e and cost",
        "kv_cost, tuned for ttft",
        "size_split, tuned for e2e and ttft and cost",
    ]


def test_numbers_change_what_is_chosen():
    config = replace(MIXED, **SHORT)
    chosen = []
    for companions in (0.0, 100.0):
        problem = Problem(config, 4)
        observations = problem.reset(range(4))
        act = tuning.policy(config, "marginal_cost", {"companions": companions})(problem)
        moves = []
        for _ in range(10):
            actions = act({"gateway_0": observations[:, 0]})["gateway_0"]
            moves.append(actions)
            observations, *_ = problem.step(actions[:, None])
        chosen.append(np.array(moves))
    assert (chosen[0] != chosen[1]).any()


def test_where_speeds_are_not_told_rules_estimate_them():
    """Two replicas of equal load, one of which takes ten times as long for a token."""
    config = replace(UNKNOWN, speeds=(1.0, 1.0), **SHORT)
    problem = Problem(config)
    problem.reset([0])
    seen = problem.measured()._replace(tpot_s=np.array([[[0.1, 0.01]]]))
    problem.measured = lambda: seen
    for told, choice in ((False, 1), (True, 0)):
        act = tuning.policy(replace(config, told_speeds=told), "kv_cost", {})(problem)
        assert act({})["gateway_0"] == choice


@pytest.mark.slow
def test_tune_adds_the_best_to_the_results(tmp_path, capsys):
    flags = ["--preset", "mixed", "--episode-s", "5", "--warm-up-s", "2", "--out", str(tmp_path)]
    sizes = ["--trials", "2", "--training-episodes", "2", "--episodes", "2"]
    assert replica_routing.main(["tune", *flags, *sizes]) == 0
    folder = tmp_path / "replica_routing" / "mixed,episode_s=5.0,warm_up_s=2.0"
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["rule"].tolist() == [name for name in tuning.RANGES for _ in range(2)]
    played = set(pd.read_csv(folder / "results.csv")["policy"])
    assert {name.split(", tuned for ")[0] for name in played} == set(tuning.RANGES)
    assert replica_routing.main(["tune", "--preset", "mixed", "--trials", "0"]) == 2
    assert "trials is 0" in capsys.readouterr().err
