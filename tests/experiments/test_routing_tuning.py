"""The search of the numbers of routing rules."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from marlserve.envs.replica_routing import MIXED, SOURCE, UNKNOWN, Problem
from marlserve.experiments import replica_routing
from marlserve.experiments.studies.replica_routing import tuning

SHORT = {"episode_s": 5.0, "warm_up_s": 2.0}


def test_what_failed_counts():
    rows = pd.DataFrame(
        {"mean_e2e_s": [2.0, 0.0], "mean_ttft_s": [1.0, 0.0], "completed": [3, 0], "failed": [1, 4]}
    )
    config = replace(MIXED, failure_s=50.0, e2e_weight=1.0, ttft_weight=3.0)
    found = {name: aim(rows, config) for name, aim in tuning.Tune.AIMS.items()}
    assert found["e2e"] == pytest.approx(((3 * 2.0 + 50.0) / 4 + 50.0) / 2)
    assert found["cost"] == pytest.approx(found["e2e"] + 3.0 * found["ttft"])


def test_under_the_services_reward_that_is_aimed_at():
    rows = pd.DataFrame({"mean_source_reward": [0.5, 0.2]})
    (aim,) = tuning.Tune().aims(SOURCE).values()
    assert aim(rows, SOURCE) == pytest.approx(-0.35)
    assert set(tuning.Tune().aims(MIXED)) == {"e2e", "ttft", "cost"}


def test_only_known_rules_are_searched(capsys):
    assert replica_routing.main(["tune", "--preset", "source", "--only", "random"]) == 2
    assert "only has ['random']; there are ['least_requests', " in capsys.readouterr().err


def test_numbers_change_what_is_chosen():
    config = replace(MIXED, **SHORT)
    chosen = []
    for companions in (0.0, 100.0):
        problem = Problem(config, 4)
        observations = problem.reset(range(4))
        act = tuning.rule("marginal_cost").policy({"companions": companions})(problem)
        moves = []
        for _ in range(10):
            actions = act({"gateway_0": observations[:, 0]})["gateway_0"]
            moves.append(actions)
            observations, *_ = problem.step(actions[:, None])
        chosen.append(np.array(moves))
    assert (chosen[0] != chosen[1]).any()


def test_adaptive_rules_estimate_speeds():
    """Of two replicas of equal load, one of which takes ten times as long for a token."""
    problem = Problem(replace(UNKNOWN, speeds=(1.0, 1.0), **SHORT))
    problem.reset([0])
    seen = problem.measured()._replace(tpot_s=np.array([[[0.1, 0.01]]]))
    problem.measured = lambda: seen
    for name, choice in (("adaptive_kv_cost", 1), ("kv_cost", 0)):
        assert tuning.rule(name).policy({"prefill_weight": 2.0})(problem)({})["gateway_0"] == choice


@pytest.mark.slow
def test_tune_adds_the_best_to_the_results(tmp_path, capsys):
    flags = ["--preset", "unknown", "--episode-s", "5", "--warm-up-s", "2", "--out", str(tmp_path)]
    sizes = ["--trials", "1", "--training-episodes", "2", "--episodes", "2"]
    assert replica_routing.main(["tune", *flags, *sizes]) == 0
    folder = tmp_path / "replica_routing" / "unknown,episode_s=5.0,warm_up_s=2.0"
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["rule"].tolist() == [*tuning.RANGES, "adaptive_kv_cost", "adaptive_marginal_cost"]
    assert trials["companions"].dropna().tolist() == [1.5, 1.5]
    played = set(pd.read_csv(folder / "results.csv")["policy"])
    assert {name.split(", best of 1 for ")[0] for name in played} == set(trials["rule"])
    assert replica_routing.main(["tune", "--preset", "mixed", "--trials", "0"]) == 2
    assert "trials is 0" in capsys.readouterr().err
