"""The C side: reservoirs that equal the simulator's, and a data plane under a real controller."""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from c_programs import compiled
from shared_memory_cases import PATIENCE_S, region_name

from marlserve.envs.sims.cluster_arrays import LOG
from marlserve.envs.sims.reservoir import Reservoirs
from marlserve.serving.native import speed
from marlserve.serving.shared_memory.shared_memory import SharedMemoryRegion

RULES = {"overwrite": 0, "algorithm_r": 1, "algorithm_l": 2}


@pytest.fixture(scope="module")
def reservoir(tmp_path_factory):
    return compiled("reservoir", tmp_path_factory.mktemp("reservoir"))


@pytest.fixture(scope="module")
def data_plane(tmp_path_factory):
    return compiled("data_plane", tmp_path_factory.mktemp("data_plane"))


def played(program, rule: str, values, times_s, now_s: float, seed: int = 5):
    """The samples that there are in the end, and the five statistics."""
    lines = "".join(
        f"{x!r} {t!r}\n" for x, t in zip(values.tolist(), times_s.tolist(), strict=True)
    )
    words = [program, "samples", str(RULES[rule]), str(seed), repr(now_s)]
    done = subprocess.run(words, input=lines, text=True, capture_output=True, check=True)
    samples, statistics = done.stdout.splitlines()
    return np.array(samples.split(), np.float32), np.array(statistics.split(), np.float32)


@pytest.mark.parametrize("rule", ["overwrite", "algorithm_r"])
@pytest.mark.parametrize("number", [0, 1, 2, 100, 128, 129, 5_000])
def test_reservoirs_are_those_of_the_simulator(reservoir, rule, number):
    """From the same random numbers: sample by sample, and all five statistics."""
    rng = np.random.default_rng(number)
    values = rng.lognormal(-4.0, 1.5, number).astype(np.float32)
    times_s = np.sort(rng.uniform(0.0, 600.0, number))
    log = np.zeros((1, number), LOG)
    log["value_s"], log["time_s"] = values, times_s
    ours = Reservoirs(1, 1, rule=rule)
    ours.reset(0, 5)
    ours.add(np.array([number]), log)
    for now_s in (600.0, 601.0, 700.0):
        samples, statistics = played(reservoir, rule, values, times_s, now_s)
        np.testing.assert_array_equal(samples, ours.samples(0, 0))
        expected = ours.features(np.array([now_s]))[0, 0]
        np.testing.assert_allclose(statistics, expected, rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_nan_after_idle_hours(reservoir, rule):
    _, statistics = played(reservoir, rule, np.ones(500), np.arange(500.0), 1e7)
    assert statistics.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_algorithm_l_samples_uniformly(reservoir):
    """Each tenth of a stream has its share, in the mean of many reservoirs."""
    number, seeds = 2_000, 60
    values = np.arange(number, dtype=float)
    found = [
        played(reservoir, "algorithm_l", values, values, 1e4, seed)[0] for seed in range(seeds)
    ]
    assert all(len(set(samples)) == 128 for samples in found)
    counts, _ = np.histogram(np.concatenate(found), bins=10, range=(0.0, number))
    expected = 128 * seeds / 10
    # A sample without replacement varies less than this; 33.7: beyond it is one run in 10,000.
    assert ((counts - expected) ** 2 / expected).sum() < 33.7


# The data plane ----------------------------------------------------------------------------------


@contextmanager
def running(program: Path, name: str, *flags: str):
    """A data plane in real time; what it says in the end is in the list."""
    said: list[dict] = []
    command = [program, "run", name, "--seconds", "300", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, said
        finally:
            process.send_signal(signal.SIGTERM)
            said.append(json.loads(process.communicate(timeout=PATIENCE_S)[0] or "{}"))


def until(condition):
    """What it gives, once that is something."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.02)
    return found


def attached(name: str):
    try:
        return SharedMemoryRegion.attach(name)
    except (FileNotFoundError, ValueError):
        return None


@pytest.mark.slow
def test_the_data_plane_plays_by_the_weights_that_it_reads(data_plane):
    with (
        region_name() as name,
        running(data_plane, name, "--rate", "400") as (_, said),
        until(lambda: attached(name)) as region,
    ):
        first = until(region.read_msg_out)
        assert first.is_active.all()
        region.write_msg_in([0.0, 1.0, 1.0])
        until(lambda: (x := region.read_msg_out()) and not x.is_active[0] and x.ongoing[0] == 0)
        before = region.read_msg_out() or until(region.read_msg_out)
        after = until(lambda: (x := region.read_msg_out()) and x.number > before.number and x)
        assert after.completed[0] == before.completed[0]
        assert after.completed[1:].sum() > before.completed[1:].sum()
        assert (after.statistics_s[1:, 0] > 0.005).all()
        assert np.isfinite(after.statistics_s).all()
        region.write_msg_in([3.0, 2.0, 1.0])
        until(lambda: (x := region.read_msg_out()) and x.is_active.all())
    assert said[0]["weights"] == [3, 2, 1]
    assert said[0]["flows"] > 100


@pytest.mark.slow
def test_a_controller_steers_the_data_plane(data_plane):
    """The server that is slow, unannounced, gets less; and the plane outlives its controller."""
    flags = ("--rate", "250", "--cores", "2,2,4", "--slow", "2:0.1")
    with region_name() as name, running(data_plane, name, *flags) as (_, said):
        until(lambda: attached(name)).close()
        words = ["--backend", "shm", "--shm", name, "--servers", "a", "b", "c", "--cores", "2", "2"]
        words += ["4", "--num-balancers", "1", "--mode", "heuristic", "--heuristic", "adaptive_sed"]
        command = [sys.executable, "-m", "marlserve.serving.controller", *words]
        controller = subprocess.Popen(command)
        try:
            with until(lambda: attached(name)) as region:
                until(lambda: (x := region.read_msg_in()) and x.weights[2] < x.weights[0])
                controller.kill()
                controller.wait()
                seen = until(region.read_msg_out)
                assert until(region.read_msg_out).completed.sum() > seen.completed.sum()
        finally:
            controller.kill()
    assert said[0]["weights"][2] < said[0]["weights"][0]


@pytest.mark.slow
def test_the_speed_of_all_of_it_is_measured(tmp_path):
    found = dict(speed.rows(tmp_path, reads=100_000, seconds=2.0, share=0.01))
    assert found["torn"] == "0"
    assert int(found["of so many"].replace(",", "")) > 100
    numbers = [float(how.replace(",", "")) for what, how in found.items() if what != "torn"]
    assert len(numbers) == 14


@pytest.mark.slow
def test_sanitizers_find_nothing_in_the_data_plane(tmp_path):
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = compiled("data_plane", tmp_path, *flags)
    with region_name() as name:
        command = [program, "bench", name, "--flows", "300000"]
        done = subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["policy_ns"] > 0.0
        with (
            running(program, name, "--rate", "200") as (_, said),
            until(lambda: attached(name)) as region,
        ):
            region.write_msg_in([1.0, 1.0, 1.0])
            until(region.read_msg_out)
        assert said[0]["flows"] > 0
