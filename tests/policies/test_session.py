"""Ray as `policies.session` starts it: quiet, and with one thread and one hash seed per worker."""

import logging
import os

import pytest
import ray

from marlserve.policies import session


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
    ("message", "tries"), [("The node timed out during startup.", 2), ("no", 1)]
)
def test_a_start_that_times_out_is_tried_once_more(monkeypatch, message, tries):
    calls = []

    def fails(**kwargs):
        calls.append(kwargs)
        raise Exception(message)

    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    monkeypatch.setattr(session.ray, "init", fails)
    with pytest.raises(Exception, match=message):
        session.start()
    assert len(calls) == tries
