"""Policy files act the same in C++ as with numpy, and what is wrong with one is said."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cpp_programs import CPP, program
from policy_files import CASES, made, observations
from safetensors.numpy import load, save

from marlserve.policies import export
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy, chosen, evaluate_all

pytestmark = CPP

EPISODES, STEPS = 5, 40


def evaluated(folder: Path, agent: str, episodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and actions in C++, of observations [episodes, steps, n]."""
    lines = [[" ".join(map(repr, seen.tolist())) for seen in episode] for episode in episodes]
    text = "\n\n".join("\n".join(episode) for episode in lines) + "\n"
    done = subprocess.run(
        [program("evaluate"), folder, agent], input=text, text=True, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("|") for line in done.stdout.splitlines()]
    outputs, actions = (
        [np.array(part.split(), float) for part in side] for side in zip(*rows, strict=True)
    )
    return np.array(outputs), np.array(actions)


def by_numpy(network: Network, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Outputs and actions of observations [steps, episodes, *O], and the largest number within."""
    hidden = {
        layer.name: np.zeros((seen.shape[1], *layer.shape), np.float32)
        for layer in network.layers
        if layer.operation == "gru"
    }
    outputs, actions, largest = [], [], 1.0
    for now in seen:
        values = evaluate_all(network, now, hidden)
        hidden = {name: values[name] for name in hidden}
        last = values[network.layers[-1].name].reshape(len(now), *network.actions.heads)
        outputs.append(last.reshape(len(now), -1))
        actions.append(chosen(network, last, None).reshape(len(now), -1))
        largest = max(largest, *(float(np.abs(each).max()) for each in values.values()))
    return np.array(outputs), np.array(actions), largest


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_actions_are_those_of_numpy(case, tmp_path):
    """Choices are equal, numbers to six digits of the largest one that a layer puts out."""
    network = exported(made(case), True, True)
    export.save(PolicyFile({"p": network}, {"*": "p"}), tmp_path / "policy")
    rng = np.random.default_rng(4)
    seen = np.array([observations(case, rng, EPISODES, ["a"])["a"] for _ in range(STEPS)])
    *wanted, largest = by_numpy(network, seen)
    found = evaluated(tmp_path / "policy", "a", seen.reshape(STEPS, EPISODES, -1).swapaxes(0, 1))
    for got, by_step in zip(found, wanted, strict=True):
        expected = by_step.swapaxes(0, 1).reshape(got.shape)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * largest)
    if network.outputs != "numbers":
        np.testing.assert_array_equal(got, expected)


def test_agents_that_share_a_network_see_their_index(tmp_path):
    module = made("qmix", indexed_agents=["a0", "a1"])  # 2 of the 5 numbers that it sees
    file = PolicyFile({"p": exported(module, True, False)}, {"a0": "p", "a1": "p"})
    export.save(file, tmp_path / "policy")
    seen = np.random.default_rng(9).normal(0, 2, (1, STEPS, 3)).astype(np.float32)
    policy = NumpyPolicy(file)
    for agent in ("a0", "a1"):
        wanted = [policy.outputs({agent: now[None]})[agent].ravel() for now in seen[0]]
        outputs, _ = evaluated(tmp_path / "policy", agent, seen)
        np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


# What is wrong with a file -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = PolicyFile({"p": exported(made("qmix"), True, False)}, {"*": "p"})
    return export.save(file, tmp_path_factory.mktemp("whole") / "policy")


def refused(folder: Path, agent: str = "a", seen: str = "0 0 0 0 0") -> str:
    """What is said of it."""
    done = subprocess.run(
        [program("evaluate"), folder, agent], input=seen + "\n", text=True, capture_output=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def changed(whole: Path, to: Path, weights=lambda arrays: None, manifest=lambda said: None) -> Path:
    """A copy with other weights, or another manifest, whose checksum is right."""
    shutil.copytree(whole, to)
    arrays = load((whole / "policy.safetensors").read_bytes())
    weights(arrays)
    (to / "policy.safetensors").write_bytes(save(arrays))
    said = json.loads((whole / "policy.json").read_text())
    written = (to / "policy.safetensors").read_bytes()
    said["weights_sha256"] = hashlib.sha256(written).hexdigest()
    manifest(said)
    (to / "policy.json").write_text(json.dumps(said))
    return to


WEIGHT = "p/network.encoder.weight"
WRONG_WEIGHTS = {
    "are missing": lambda arrays: arrays.pop(WEIGHT),
    "belong to no layer": lambda arrays: arrays.update({"p/other.weight": np.zeros(1, "f4")}),
    "belong to no network": lambda arrays: arrays.update({"q/x.weight": np.zeros(1, "f4")}),
    "not finite": lambda arrays: arrays[WEIGHT].__setitem__((0, 0), np.nan),
    "are F64": lambda arrays: arrays.update({WEIGHT: arrays[WEIGHT].astype("f8")}),
    "have shape": lambda arrays: arrays.update({WEIGHT: arrays[WEIGHT][:, :-1].copy()}),
}
WRONG_MANIFESTS = {
    "its version is 2; this marlserve reads version 1": lambda said: said.update(version=2),
    "its format is 'marlserve policy'": lambda said: said.update(format="other"),
    "there is no such operation": lambda said: said["networks"]["p"]["layers"][0].update(
        operation="convolution"
    ),
    "is no earlier layer": lambda said: said["networks"]["p"]["layers"][0].update(inputs=["x"]),
    "'action' is missing": lambda said: said["networks"]["p"].pop("action"),
    "outputs are 'numbers'": lambda said: said["networks"]["p"]["action"].update(outputs="numbers"),
    "is no space": lambda said: said["networks"]["p"].update(action_space={"type": "Tuple"}),
    "which is no network": lambda said: said.update(agents={"*": "q"}),
    "actions need 9 numbers": lambda said: said["networks"]["p"]["action_space"].update(n=9),
}


@pytest.mark.parametrize("said", WRONG_WEIGHTS)
def test_wrong_weights_are_refused(said, whole, tmp_path):
    assert said in refused(changed(whole, tmp_path / "policy", weights=WRONG_WEIGHTS[said]))


@pytest.mark.parametrize("said", WRONG_MANIFESTS)
def test_wrong_manifests_are_refused(said, whole, tmp_path):
    assert said in refused(changed(whole, tmp_path / "policy", manifest=WRONG_MANIFESTS[said]))


def test_what_was_changed_or_cut_off_is_refused(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "policy")
    data = (copy / "policy.safetensors").read_bytes()
    (copy / "policy.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "the checksum of policy.safetensors" in refused(copy)
    (copy / "policy.safetensors").unlink()
    assert "policy.safetensors cannot be read" in refused(copy)


def test_what_is_no_observation_is_refused(whole):
    assert "'1 2'; it must be 5 numbers" in refused(whole, seen="1 2")
    assert "'1 2 3 4 nan'; it must be 5 numbers" in refused(whole, seen="1 2 3 4 nan")
