"""Versions appear whole, are served, rolled back, kept to a number, and never read if broken."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from serving_cases import policy_file

from marlserve.serving.policy_store import Current, PolicyStore

PUBLISH_FOR_EVER = """
import sys
sys.path.insert(0, sys.argv[2])
from serving_cases import policy_file
from marlserve.serving.policy_store import PolicyStore
store = PolicyStore(sys.argv[1], keep=3)
print("ready", flush=True)
while True:
    store.publish(policy_file([0.0, 1.0]))
"""


def values(file) -> np.ndarray:
    return file.networks["shared"].weights["q.bias"]


def test_what_is_published_is_served(tmp_path):
    store = PolicyStore(tmp_path / "models")
    assert (store.current(), store.versions()) == (Current("", False), [])
    assert [store.publish(policy_file([0.0, float(i)])) for i in range(2)] == ["1", "2"]
    assert store.current() == Current("2", False)
    np.testing.assert_array_equal(values(store.read("2")), [0.0, 1.0])
    assert abs(store.published_s("2") - time.time()) < 60.0
    assert PolicyStore(tmp_path / "models").current() == Current("2", False)


def test_a_roll_back_stays_until_it_is_released(tmp_path):
    store = PolicyStore(tmp_path, keep=3)
    for i in range(3):
        store.publish(policy_file([0.0, float(i)]))
    store.roll_back("1")
    for i in range(3, 8):
        store.publish(policy_file([0.0, float(i)]))
    assert store.current() == Current("1", True)
    assert store.versions() == ["1", "6", "7", "8"]  # the one that is served is not thrown away
    assert store.release() == "8"
    assert store.current() == Current("8", False)
    with pytest.raises(ValueError, match="is no policy file"):
        store.roll_back("2")


@pytest.mark.parametrize("version", ["..", "/etc", "1/../../x", ""])
def test_a_version_is_a_number(version, tmp_path):
    with pytest.raises(ValueError, match="allowed is a number of"):
        PolicyStore(tmp_path).read(version)


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_broken_version_is_refused(name, how, tmp_path):
    store = PolicyStore(tmp_path)
    store.publish(policy_file([0.0, 1.0]))
    path = tmp_path / "versions" / "1" / name
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "changed":
        path.write_bytes(data[:-3] + b"\x01" + data[-2:])
    else:
        path.unlink()
    for act in (store.read, store.roll_back):
        with pytest.raises(ValueError, match="is no policy file"):
            act("1")


def test_a_broken_pointer_says_so_and_is_made_anew(tmp_path):
    store = PolicyStore(tmp_path)
    store.publish(policy_file([0.0, 1.0]))
    (tmp_path / "current.json").write_text('{"version"')
    with pytest.raises(ValueError, match="does not say what is served"):
        store.current()
    assert store.publish(policy_file([0.0, 1.0])) == "2"
    assert store.current() == Current("2", False)


@pytest.mark.slow
def test_a_killed_publisher_leaves_nothing_half_done(tmp_path):
    support = policy_file.__code__.co_filename.rpartition("/")[0]
    code = [sys.executable, "-c", PUBLISH_FOR_EVER, str(tmp_path), support]
    for _ in range(2):
        with subprocess.Popen(code, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.2)
            process.kill()
        store = PolicyStore(tmp_path, keep=3)
        assert store.versions()
        for version in (store.current().version, *store.versions()[-2:]):
            store.read(version)
        assert json.loads((tmp_path / "current.json").read_text())["pinned"] is False
    assert store.publish(policy_file([0.0, 1.0])) == store.current().version


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be a store"):
        PolicyStore(tmp_path / "file" / "models")
    store = PolicyStore(tmp_path / "models")
    os.rename(tmp_path / "models", tmp_path / "elsewhere")
    (tmp_path / "models").write_text("")
    with pytest.raises(ValueError, match="cannot be"):
        store.publish(policy_file([0.0, 1.0]))
