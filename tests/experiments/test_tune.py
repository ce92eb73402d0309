"""The search of the numbers of rules."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from marlserve.envs.load_balance import MODERATE, Problem
from marlserve.envs.load_balance.observation import FEATURES
from marlserve.experiments import load_balance
from marlserve.experiments.studies.load_balance.tuning import RULES, Tune
from marlserve.experiments.studies.tune import Rule, drawn


def test_numbers_are_spread_over_their_ranges_by_factors_where_they_are_positive():
    ranges = {"low": (0.0, 1.0), "factor": (1.0, 10_000.0)}
    points = pd.DataFrame(drawn(ranges, 64))
    for name, (low, high) in ranges.items():
        assert points[name].between(low, high).all()
    assert points["low"].median() == pytest.approx(0.5, abs=0.1)
    assert 50.0 < points["factor"].median() < 200.0


def test_the_best_of_each_rule_plays_with_its_numbers():
    def formula(problem, power=1.0, floor_s=0.1):
        return problem, power, floor_s

    rule = Rule(formula, {"power": (0.5, 2.0), "floor_s": (0.1, 1.0)})
    assert rule.defaults == {"power": 1.0, "floor_s": 0.1}

    class Searching(Tune):
        AIMS: ClassVar = {"one": lambda rows, config: 0.0, "other": lambda rows, config: 0.0}

        def rules(self, config):
            return {"a": rule}

    found = pd.DataFrame(
        {"rule": "a", "power": [1.0, 2.0], "floor_s": [0.1, 0.7], "one": [2, 1], "other": [1, 2]}
    )
    one, other = Searching().best(found, MODERATE)
    assert (one.name, other.name) == ("a, best of 2 for one", "a, best of 2 for other")
    assert one.policy("problem") == ("problem", 2.0, 0.7)
    assert other.policy("problem") == ("problem", 1.0, 0.1)


@pytest.mark.parametrize("name", RULES)
def test_numbers_change_how_a_balancer_weighs(name):
    problem, rule = Problem(MODERATE), RULES[name]
    seen = np.random.default_rng(0).uniform(0.0, 0.9, (4, 7, len(FEATURES)))
    least, most = ({x: ends[i] for x, ends in rule.ranges.items()} for i in (0, 1))
    weights = [rule.policy(x)(problem)({"lb_0": seen})["lb_0"] for x in (least, most)]
    assert weights[0].shape == weights[1].shape == (4, 7)
    assert (weights[0] != weights[1]).any()


def test_tune_adds_the_best_to_the_results_at_both_loads(tmp_path, capsys):
    flags = ["--preset", "moderate", "--episode-s", "1", "--warm-up-s", "1", "--out", str(tmp_path)]
    sizes = ["--trials", "2", "--training-episodes", "2", "--episodes", "2"]
    assert load_balance.main(["tune", *flags, *sizes]) == 0
    folders = sorted((tmp_path / "load_balance").iterdir())
    assert len(folders) == 2
    for folder in folders:
        trials = pd.read_csv(folder / "trials.csv")
        assert trials["rule"].tolist() == [name for name in RULES for _ in range(2)]
        played = set(pd.read_csv(folder / "results.csv")["policy"])
        assert played == {f"{name}, best of 2 for latency" for name in RULES}
    assert load_balance.main(["tune", "--preset", "moderate", "--trials", "0"]) == 2
    assert "trials is 0" in capsys.readouterr().err
