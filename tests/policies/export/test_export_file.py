"""Policy files say what they hold, and are refused, with reasons, when anything is wrong."""

import hashlib
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from policy_files import made, observations, own_policy, write_checkpoint
from safetensors.numpy import load, save
from toy_modules import Reflex

from marlserve.policies import export
from marlserve.policies.export import spaces
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv


def policy_file(case="qmix", **agents):
    return PolicyFile({"shared": exported(made(case), True, False)}, agents or {"*": "shared"})


def test_what_is_written_is_read(tmp_path):
    written = PolicyFile(
        {name: exported(made(name), True, True) for name in ("qmix-each", "ppo-unbounded")},
        {"a0": "qmix-each", "*": "ppo-unbounded"},
        {"algorithm": "qmix", "seed": 3},
    )
    assert export.save(written, tmp_path / "policy") == tmp_path / "policy"
    for path in ("", "policy.json", "policy.safetensors"):
        read = export.read(tmp_path / "policy" / path)
        assert (read.agents, read.training) == (written.agents, written.training)
        assert read.networks.keys() == written.networks.keys()
        for name, network in written.networks.items():
            other = read.networks[name]
            assert other.weights.keys() == network.weights.keys()
            for key, values in network.weights.items():
                np.testing.assert_array_equal(other.weights[key], values)
            for part in ("layers", "observation_space", "action_space", "outputs", "clip"):
                assert getattr(other, part) == getattr(network, part)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy"]


def test_a_file_tells_where_it_comes_from_and_what_is_seen(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", {"shared": made("qmix")})
    features = {"queue_depth": "jobs", "wait_s": "s", "a": "1", "b": "1", "c": "1"}
    export.write(folder, tmp_path / "policy", {"preset": "moderate", "seed": 8}, features)
    file = export.read(tmp_path / "policy")
    assert file.agents == {"*": "shared"}
    assert file.networks["shared"].features == tuple(features.items())
    version = file.training.pop("marlserve")
    assert version.count(".") == 2
    assert file.training == {
        "algorithm": "qmix",
        "problem": "load_balance",
        "env_steps": 1234,
        "preset": "moderate",
        "seed": 8,
    }
    with pytest.raises(ValueError, match=r"1 features; observations have shape \(5,\)"):
        export.write(folder, tmp_path / "other", features={"queue_depth": "jobs"})


def test_the_environment_names_the_agents_of_several_policies(tmp_path):
    modules = {name: made("qmix", seed) for seed, name in enumerate(("of_a0", "of_a1", "of_a9"))}
    folder = write_checkpoint(tmp_path / "checkpoint", modules, own_policy)
    with pytest.raises(ValueError, match="name them in `agents`"):
        export.write(folder, tmp_path / "policy")
    constructor = pickle.loads((folder / "class_and_ctor_args.pkl").read_bytes())
    constructor["ctor_args_and_kwargs"][0][0].update(
        env=PettingZooEnv, env_config={"maker": "toys:Recall"}
    )
    (folder / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(constructor))
    export.write(folder, tmp_path / "policy")
    file = export.read(tmp_path / "policy")
    assert file.agents == {"a0": "of_a0", "a1": "of_a1"}
    assert file.networks.keys() == {"of_a0", "of_a1"}
    with pytest.raises(ValueError, match="agent 'a2' has no policy"):
        NumpyPolicy(file)({"a2": np.zeros((1, 5))})


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "policy").mkdir()
    export.save(policy_file(), tmp_path / "policy")  # an empty folder is none
    with pytest.raises(ValueError, match="policy exists"):
        export.save(policy_file(), tmp_path / "policy")


def test_other_modules_are_refused():
    module = Reflex(observation_space=Box(0, 1, (2,)), action_space=Discrete(3))
    with pytest.raises(ValueError, match=r"a Reflex cannot be exported; there are .*DQNModule"):
        exported(module, True, False)


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (2, 3)),
        Box(np.float32([-np.inf, 0]), np.float32([3, np.inf])),
        Box(0, 255, (4,), np.uint8),
        Box(0.1, 0.7, ()),
        Discrete(4, start=-1),
        MultiDiscrete([2, 5], start=[1, 0]),
    ],
)
def test_spaces_survive_json(space):
    assert spaces.from_json(json.loads(json.dumps(spaces.to_json(space)))) == space


@pytest.mark.parametrize("space", [MultiBinary(3), Dict(), MultiDiscrete([[2], [3]])])
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match="a policy file can have"):
        spaces.to_json(space)


def network_of(manifest):
    return manifest["networks"]["shared"]


def layer_of(manifest, name):
    return next(x for x in network_of(manifest)["layers"] if x["name"] == f"network.{name}")


def without_layer(manifest, name):
    network_of(manifest)["layers"].remove(layer_of(manifest, name))


BROKEN = {  # what is done to the manifest, and what is said
    "format": (lambda m: m.update(format="other"), "its format is 'marlserve policy'"),
    "version": (lambda m: m.update(version=2), "its version is 2; .* reads version 1"),
    "checksum": (lambda m: m.update(weights_sha256="0" * 64), "checksum"),
    "networks": (lambda m: m.pop("networks"), "lacks 'networks'"),
    "name": (lambda m: m.update(networks={"other": network_of(m)}), "belong to no network"),
    "agents": (lambda m: m.update(agents={"a0": "gone"}), r"played by \['gone'\]"),
    "nobody": (lambda m: m.update(agents={}), "played by nobody"),
    "first layer": (lambda m: without_layer(m, "encoder"), "has inputs .'network.encoder'."),
    "last layer": (lambda m: without_layer(m, "head"), "'network.head.weight'.*belong to no layer"),
    "operation": (lambda m: layer_of(m, "head").update(operation="exec"), "has operation 'exec'"),
    "name of a layer": (lambda m: layer_of(m, "head").update(name="network.memory"), "two layers"),
    "shape": (
        lambda m: layer_of(m, "encoder").update(shape=[9]),
        r"'network.encoded'.*of inputs of",
    ),
    "no shape": (lambda m: layer_of(m, "head").update(shape=[0]), "must be positive integers"),
    "inputs": (lambda m: layer_of(m, "head").update(inputs=[1]), "must be names"),
    "pooled": (lambda m: layer_of(m, "encoded").update(operation="mean_max"), "cannot have inputs"),
    "space": (lambda m: network_of(m)["action_space"].update(type="Dict"), "type is 'Dict'"),
    "size": (lambda m: network_of(m)["action_space"].update(n=5), "needs 5 numbers"),
    "no size": (lambda m: network_of(m)["action_space"].update(n=0), "must be positive integers"),
    "outputs": (lambda m: network_of(m)["action"].update(outputs="numbers"), "cannot take"),
    "stretch": (lambda m: network_of(m)["action"].update(stretch=True), "cannot take"),
    "NaN": (lambda m: m["training"].update(seed=float("nan")), "number NaN"),
}


@pytest.fixture
def saved(tmp_path):
    return export.save(policy_file(), tmp_path / "policy")


@pytest.mark.parametrize("what", BROKEN)
def test_a_manifest_that_is_wrong_is_refused(what, saved):
    spoil, message = BROKEN[what]
    manifest = json.loads((saved / "policy.json").read_text())
    spoil(manifest)
    (saved / "policy.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message) as error:
        export.load(saved)
    assert str(saved) in str(error.value)


def write_weights(folder, data):
    """Other weights, with their right checksum."""
    manifest = json.loads((folder / "policy.json").read_text())
    manifest["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "policy.json").write_text(json.dumps(manifest))
    (folder / "policy.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.full_like(x, np.nan), "not finite"),
        (lambda x: np.where(x == x.max(), np.inf, x).astype(np.float32), "not finite"),
        (lambda x: x[1:], r"of shape \(3, 8\); expected float32 of shape \(4, 8\)"),
        (lambda x: x.astype(np.float64), "are float64"),
        (None, r"\['network.head.weight'\] are missing"),
    ],
)
def test_weights_that_are_wrong_are_refused(change, message, saved):
    arrays = load((saved / "policy.safetensors").read_bytes())
    head = arrays.pop("shared/network.head.weight")
    if change is not None:
        arrays["shared/network.head.weight"] = np.ascontiguousarray(change(head))
    write_weights(saved, save(arrays))
    with pytest.raises(ValueError, match=message):
        export.load(saved)


def test_broken_files_say_what_is_wrong(saved, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is no policy file: .*policy\.json"):
        export.load(tmp_path / "nowhere")
    weights = (saved / "policy.safetensors").read_bytes()
    (saved / "policy.safetensors").write_bytes(weights[:-4])
    with pytest.raises(ValueError, match="checksum"):
        export.load(saved)
    write_weights(saved, weights[:-4])
    with pytest.raises(ValueError, match="policy is no policy file that can be read"):
        export.load(saved)
    for text in (b"{", b"\xff", b"[]", b"[" * 100_000):
        (saved / "policy.json").write_bytes(text)
        with pytest.raises(ValueError, match="policy is no policy file that can be read"):
            export.load(saved)
    (saved / "policy.safetensors").unlink()
    with pytest.raises(ValueError, match=r"is no policy file: .*policy\.safetensors"):
        export.load(saved)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_loading_unpickles_nothing(saved, tmp_path):
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    for name in ("policy.pkl", "module_state.pkl", "class_and_ctor_args.pkl"):
        (saved / name).write_bytes(bomb)
    export.load(saved)({"a0": np.zeros((1, 5))})
    write_weights(saved, bomb)
    with pytest.raises(ValueError, match="cannot be read|can be read"):
        export.load(saved)
    (saved / "policy.json").write_bytes(bomb)
    with pytest.raises(ValueError, match="can be read"):
        export.load(saved)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(bomb)
    assert (tmp_path / "exploded").exists()  # it is one


PROGRAM = """
import sys
import numpy as np
sys.modules.update(torch=None, ray=None, onnx=None)  # importing one of them raises
from marlserve.policies import export
from marlserve.policies.export.numba_policy import NumbaPolicy
policy = export.load(sys.argv[1])
seen = np.load(sys.argv[2])
action = policy({"a0": seen})["a0"]
print(action.tolist(), NumbaPolicy(policy.file)({"a0": seen})["a0"].tolist())
"""


@pytest.mark.slow
def test_acting_needs_neither_torch_nor_ray(saved, tmp_path):
    seen = observations("qmix", np.random.default_rng(7), 6, ["a0"])
    np.save(tmp_path / "seen.npy", seen["a0"])
    expected = export.load(saved)(seen)["a0"].tolist()
    command = [sys.executable, "-c", PROGRAM, str(saved), str(tmp_path / "seen.npy")]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.stderr == ""
    assert done.stdout == f"{expected} {expected}\n"
