"""Ray as `policies.session` starts it: quiet, and with one thread and one hash seed per worker."""

import logging
import os
import subprocess
import sys
import time

import pytest
import ray

from marlserve.policies import session

pytestmark = pytest.mark.slow


@ray.remote
def worker() -> dict:
    import numba

    names = ("ray.rllib", "ray.tune", "ray._common.deprecation")
    return {
        "hash": hash("marlserve"),
        "omp": os.environ["OMP_NUM_THREADS"],
        "numba": numba.config.NUMBA_NUM_THREADS,
        "levels": {logging.getLogger(name).getEffectiveLevel() for name in names},
    }


def test_workers_are_quiet_single_threaded_and_hash_alike(ray_session):
    first, second = ray.get([worker.remote(), worker.remote()])
    assert first == second
    assert first["omp"] == "1"
    assert first["numba"] == 1
    assert first["levels"] == {logging.ERROR}


def test_starting_again_changes_nothing(ray_session):
    node = ray.get_runtime_context().get_node_id()
    session.start(num_cpus=1)
    assert ray.get_runtime_context().get_node_id() == node
    assert ray.cluster_resources()["CPU"] == 4


def test_no_cores_is_an_error():
    with pytest.raises(ValueError, match="num_cpus is 0; it must be at least 1"):
        session.start(num_cpus=0)


@pytest.mark.parametrize(
    ("message", "tries", "said"),
    [
        (
            "The node timed out during startup.",
            2,
            "in two tries; it says: The node .*busy",
        ),
        ("Failed to start GCS. Last error", 2, "in two tries"),
        ("no", 1, "no"),
    ],
)
def test_a_start_that_is_too_slow_is_tried_once_more(monkeypatch, message, tries, said):
    calls = []

    def fails(**kwargs):
        calls.append(kwargs)
        raise Exception(message)

    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    monkeypatch.setattr(session.ray, "init", fails)
    with pytest.raises(Exception, match=said):
        session.start()
    assert len(calls) == tries


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(session, "_PATIENCE_S", 0.5)


def test_a_ray_in_use_is_not_taken_away(ray_session, impatient):
    @ray.remote(num_cpus=3)
    class Busy:
        def ready(self):
            return True

    actor = Busy.remote()
    assert ray.get(actor.ready.remote())
    while ray.available_resources().get("CPU", 0) > 1:  # it takes a while to be counted
        time.sleep(0.05)
    with pytest.raises(RuntimeError, match="4 CPUs and 3 of them are in use, but 6 are asked for"):
        session.start(num_cpus=6)
    with pytest.raises(RuntimeError, match="4 CPUs, of which 1 are free, but 2 are asked for"):
        session.provide(2)
    session.provide(1)
    ray.kill(actor)


def test_a_ray_of_others_is_not_taken_away(ray_session, monkeypatch):
    monkeypatch.setattr(session, "_started", {})
    with pytest.raises(RuntimeError, match=r"Ray runs with 4 CPUs.*ray.init\(num_cpus=6\)"):
        session.start(num_cpus=6)
    session.provide(6)  # it may be a cluster that grows


_GROWS = """
import sys

import ray
from ray.rllib.algorithms.algorithm import Algorithm

from marlserve import policies
from marlserve.policies import session


def built(num_env_runners):
    config = policies.config("ppo", minibatch_size=8).environment("CartPole-v1")
    config.env_runners(
        num_env_runners=num_env_runners, num_envs_per_env_runner=1, rollout_fragment_length=8
    )
    algorithm = config.build_algo()
    algorithm.train()
    return algorithm


first = built(0)
folder = first.save_to_path(sys.argv[1])
Algorithm.from_checkpoint(folder).stop()
assert not ray.is_initialized()
session.start(num_cpus=1)
second = built(2)  # which restarts Ray: nothing remote runs
assert ray.cluster_resources()["CPU"] == 2, ray.cluster_resources()
first.train()  # and the other goes on
session._PATIENCE_S = 1.0
try:
    built(1)
except RuntimeError as error:
    assert "2 CPUs, of which 0 are free, but 1 are asked for" in str(error), error
else:
    sys.exit("there is no core for a third env runner")
second.stop()
session.stop()
"""


def test_ray_starts_for_what_is_remote_and_finds_it_cores(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", _GROWS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
