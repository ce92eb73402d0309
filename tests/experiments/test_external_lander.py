"""Lunar Lander by the client: what it is told, what is measured, and that it is done once."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from marlserve.experiments import external
from marlserve.experiments.testbed.external import lander, processes
from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.serving.trainer.learner import configured
from marlserve.serving.wire.program import read

pytest.importorskip("gymnasium.envs.box2d")


@pytest.mark.parametrize("algorithm", lander.SETTINGS)
def test_the_file_is_one_that_a_trainer_takes(algorithm, tmp_path):
    program = read(processes.program_file(tmp_path, lander.told(algorithm, 3)))
    config = configured(program, {"address": "", "secret": ""})
    assert (config.seed, program.algorithm_name) == (3, algorithm)
    told = {name: getattr(config, name) for name in lander.SETTINGS[algorithm]}
    assert told == lander.SETTINGS[algorithm]


def test_a_policy_flies_with_its_best_actions():
    """Engines off, it falls: each flight has its own seed, and they are the same again."""
    layers = (Layer("q", "linear", ("observation",), (4,)),)
    weights = {"q.weight": np.zeros((4, 8), np.float32), "q.bias": np.eye(4, dtype=np.float32)[0]}
    network = Network(Box(-9, 9, (8,)), Discrete(4), layers, weights, "action values")
    policy = NumpyPolicy(PolicyFile({"q": network}, {"*": "q"}))
    returns = lander.fly(policy, 3)
    assert len(set(returns)) == 3
    assert returns.mean() < 0.0
    np.testing.assert_array_equal(lander.fly(policy, 2), returns[:2])


@pytest.mark.slow
def test_it_is_learned_measured_and_told_once(tmp_path, capsys):
    words = ["lander", "--algorithms", "ppo", "--most-steps", "6000", "--flights", "2"]
    words += ["--out", str(tmp_path)]
    for _ in range(2):
        assert external.main(words) == 0
    first, second = capsys.readouterr().out.split("| algorithm")[1:]
    assert first.strip() == second.strip()
    (row,) = processes.read(tmp_path / "results.csv")
    assert 6_000 <= row["steps"] < 7_000
    assert row["latest_100"] < 0.0
    assert row["lost_steps"] == 0
    assert row["cpu_s"] > 0
