"""An experiment that cannot be is refused, and its folder follows from it."""

from dataclasses import replace

import pytest
from tiny_runs import TINY

from marlserve.experiments.harness.experiment import label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": "chess"}, "no problem 'chess'"),
        ({"env_config": {"servers": 3}}, "no field \\['servers'\\]"),
        ({"env_config": {"step_s": -1.0}}, "step_s is -1.0"),
        ({"env_steps": 0}, "env_steps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"name": "../up"}, "fit to name a folder"),
        ({"settings": {"lr": object()}}, "not JSON serializable"),
    ],
)
def test_a_bad_experiment_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_a_label_is_fit_for_a_folder():
    name = label("moderate", {"load": (0.5, 0.6), "trace_path": "rate_350.csv"})
    assert name == "moderate,load=0.5-0.6,trace_path=rate_350.csv"
    assert replace(TINY, preset=name).folder.parts[1] == name


def test_what_differs_has_different_labels():
    paths = ["rate.csv", "some/where/rate.csv", "else/where/rate.csv", "rate .csv", "rate_.csv"]
    names = {label("moderate", {"trace_path": path}) for path in paths}
    assert len(names) == len(paths)
    assert all(name.startswith("moderate,trace_path=rate") for name in names)
    many = [label("x", {"server_cores": [1.0] * 200, "seed": seed}) for seed in range(3)]
    assert len(set(many)) == 3
    for name in (*names, *many):
        assert len(name) < 200
        assert replace(TINY, preset=name).folder.parts[1] == name
