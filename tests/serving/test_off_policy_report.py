"""The table of what versions would have got: those that are better are told apart."""

import re

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from replica_traffic import log_of

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.serving import off_policy
from marlserve.serving.policy_store import PolicyStore

R, S = 3, 10


def by_load(sign: float) -> PolicyFile:
    """Thinks best of the replica with the most requests, or with the fewest."""
    weight = np.zeros((R, S), np.float32)
    weight[:, :R] = sign * np.eye(R)
    weights = {"q.weight": weight, "q.bias": np.zeros(R, np.float32)}
    layers = (Layer("q", "linear", ("observation",), (R,)),)
    network = Network(Box(0.0, 1.0, (S,)), Discrete(R), layers, weights, "action values")
    return PolicyFile({"p": network}, {"*": "p"})


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return log_of(tmp_path_factory.mktemp("log") / "log.sqlite", 1500)


def test_estimates_are_of_what_the_policy_would_do(log):
    found = off_policy.logged(log, R)
    loads = found.seen[:, :R] / (1.0 - found.seen[:, :R]) * 16.0  # plain again
    for sign, load in ((-1.0, loads.min(axis=1)), (1.0, loads.max(axis=1))):
        expected = (1.0 - 0.08 * (load + 0.5)).mean()
        for name, estimate in off_policy.estimated(by_load(sign), found).items():
            assert estimate.low - 0.02 < expected < estimate.high + 0.02, name
            assert estimate.effective_samples > 400


def test_the_table(log, tmp_path, capsys):
    store = PolicyStore(tmp_path)
    for sign in (1.0, -1.0):
        store.publish(by_load(sign))
    off_policy.main(log, tmp_path, R)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 1 + 2 * 3
    values = [float(re.findall(r"-?\d+\.\d+", line)[0]) for line in lines[2:]]
    done, worst, best = values[0], values[1:4], values[4:]
    assert max(worst) < done < min(best)


def test_a_log_of_others_has_nothing_to_say(log):
    with pytest.raises(ValueError, match="has 0 decisions to estimate from"):
        off_policy.logged(log, 2)
