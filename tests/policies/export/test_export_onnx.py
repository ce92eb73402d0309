"""A network as ONNX does what the policy file does, by another runtime."""

import numpy as np
import onnxruntime
import pytest
from gymnasium.spaces import Box
from policy_files import CASES, made, masks, observations

from marlserve.policies.export import onnx_file
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy

BATCH = 3


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_gives_the_same_actions_and_outputs(case, tmp_path):
    network = exported(made(case), True, False)
    file = onnx_file.write(network, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    policy, raw = (NumpyPolicy(PolicyFile({"p": network}, {"a0": "p"})) for _ in range(2))
    rng = np.random.default_rng(6)
    memory = {
        layer.name: np.zeros((BATCH, *layer.shape), np.float32)
        for layer in network.layers
        if layer.operation == "gru"
    }
    for _ in range(6):
        seen, legal = observations(case, rng, BATCH, ["a0"]), masks(case, rng, BATCH, ["a0"])
        feeds = {"observation": seen["a0"], **memory}
        if legal is not None:
            feeds["mask"] = legal["a0"]
        outputs, action, *after = session.run(None, feeds)
        memory = dict(zip(memory, after, strict=True))
        expected = raw.outputs(seen)["a0"]
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
        chosen = policy(seen, legal)["a0"]
        assert action.shape == chosen.shape
        if isinstance(network.action_space, Box):
            np.testing.assert_allclose(action, chosen, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(action, chosen)
            assert outputs.shape[1:] == network.actions.heads


def test_an_onnx_file_is_not_written_over(tmp_path):
    (tmp_path / "policy.onnx").write_text("mine")
    with pytest.raises(ValueError, match=r"policy\.onnx exists"):
        onnx_file.write(exported(made("ppo"), True, False), tmp_path / "policy.onnx")
