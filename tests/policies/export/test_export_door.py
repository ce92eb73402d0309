"""What evaluators of policy files are asked for, and refuse."""

import numpy as np
import pytest
from gymnasium.spaces import Box
from policy_files import made

from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numba_policy import NumbaPolicy
from marlserve.policies.export.numpy_policy import NumpyPolicy


def policy_file(**agents):
    return PolicyFile({"shared": exported(made("qmix"), True, False)}, agents or {"*": "shared"})


@pytest.mark.parametrize("evaluator", [NumpyPolicy, NumbaPolicy])
def test_bad_observations_and_masks_are_refused(evaluator):
    policy = evaluator(policy_file(a0="shared", a1="shared"))
    for bad, message in [
        (np.zeros(5), r"observation of a0 has shape \(5,\); expected is \[B, 5\]"),
        (np.zeros((2, 4)), r"has shape \(2, 4\)"),
        (np.full((2, 5), np.inf), "not finite"),
        (np.full((2, 5), "1"), "must be numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            policy({"a0": bad})
    with pytest.raises(ValueError, match="agent 'b7' has no policy"):
        policy({"b7": np.zeros((1, 5))})
    seen = {"a0": np.zeros((3, 5)), "a1": np.ones((3, 5))}
    with pytest.raises(ValueError, match="no mask of a1"):
        policy(seen, {"a0": np.ones((3, 1, 4), bool)})
    with pytest.raises(ValueError, match=r"mask of a0 has shape \(3, 4\); expected is \(3, 1, 4\)"):
        policy(seen, dict.fromkeys(seen, np.ones((3, 4), bool)))
    expected = evaluator(policy.file)(seen)
    for agent, actions in policy(seen).items():  # nothing of what was refused is remembered
        np.testing.assert_array_equal(actions, expected[agent])
    with pytest.raises(ValueError, match="batch axis of 2; .* it is 3"):
        policy({"a0": np.zeros((2, 5))})


def test_bad_single_decisions_are_refused():
    policy = NumbaPolicy(policy_file(a0="shared"))
    for bad, message in [
        (np.zeros((1, 5)), r"of shape \(1, 5\); expected are numbers of shape \(5,\)"),
        (np.full(5, "x"), "expected are numbers"),
        (np.full(5, np.nan), "observation of a0 has values that are not finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            policy.decide("a0", bad)
    with pytest.raises(ValueError, match="agent 'b7' has no policy"):
        policy.decide("b7", np.zeros(5))
    with pytest.raises(ValueError, match=r"mask of a0 has shape \(4,\)"):
        policy.decide("a0", np.zeros(5), np.ones(4, bool))
    policy.reset()
    policy({"a0": np.zeros((3, 5))})
    with pytest.raises(ValueError, match="3 episodes are played side by side"):
        policy.decide("a0", np.zeros(5))


def test_agents_that_see_their_index_are_told_it():
    module = made("qmix", indexed_agents=["a0", "a1"])  # of 5 numbers, 2 are the index
    file = PolicyFile({"shared": exported(module, True, False)}, {"*": "shared"})
    plain = NumpyPolicy(policy_file())
    assert file.networks["shared"].observation_space == Box(-9, 9, (3,))
    seen = np.random.default_rng(8).normal(size=(4, 3)).astype(np.float32)
    index = {"a0": [1.0, 0.0], "a1": [0.0, 1.0]}
    whole = {a: np.hstack([seen, np.tile(x, (4, 1))]) for a, x in index.items()}
    expected = plain.outputs(whole)
    outputs = NumpyPolicy(file).outputs({"a0": seen, "a1": seen})
    actions = NumbaPolicy(file)({"a0": seen, "a1": seen})
    for agent in index:
        np.testing.assert_allclose(outputs[agent], expected[agent], rtol=1e-6)
        np.testing.assert_array_equal(actions[agent], 2 + expected[agent][:, 0].argmax(-1))
    with pytest.raises(ValueError, match="agent 'a2' has no index"):
        NumpyPolicy(file)({"a2": seen})
    with pytest.raises(ValueError, match="agent 'a2' has no index"):
        NumbaPolicy(file).decide("a2", seen[0])
