"""The benchmark runs, with a budget far too small to say anything."""

import random
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from toys import TwoStep

from marlserve import policies
from marlserve.envs.kv_cache import Problem
from marlserve.experiments import benchmark
from marlserve.experiments.benchmark import Row
from marlserve.experiments.benchmarks import kv_cache as benchmark_kv_cache
from marlserve.experiments.benchmarks.reference_qmix import PlainQMIX
from marlserve.experiments.benchmarks.work import Work, timed

pytestmark = pytest.mark.slow

SCRIPT = Path(benchmark.__file__)


def test_the_script_runs_and_keeps_what_other_parts_measured(tmp_path):
    table = tmp_path / "runs" / "benchmark.csv"
    benchmark.write([Row("sampling", "mine", "env-steps", 2.5, None, 0.0)], table)
    benchmark.write([Row("simulator", "old", "jobs", 2.5, 1.0, 0.0)], table)
    command = [sys.executable, SCRIPT, "simulator", "--seconds", "0.01", "--out", table.parent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(table)
    assert list(rows) == ["part", "side", "unit", "per_cpu_s", "ratio", "updates"]
    assert rows["side"].tolist() == ["mine", *benchmark.PARTS["simulator"].sides]
    for side in benchmark.PARTS["simulator"].sides:
        assert side in done.stdout


@pytest.mark.parametrize("name", ["sampling", "kv_cache", "kv_compression"])
def test_every_side_is_measured(name):
    part, rows = benchmark.PARTS[name], benchmark.measure(name, 0.01)
    assert [row.side for row in rows] == list(part.sides)
    assert all(row.per_cpu_s > 0.0 for row in rows)
    assert all(row.updates == 0.0 for row in rows)
    assert [row.side for row in rows if row.ratio == 1.0] == [part.base]


@pytest.mark.parametrize(
    ("name", "updates"),
    [
        ("training", 1 / 16),
        ("sac_training", 3 / 512),
        ("kv_cache_training", 4 / 256),
    ],
)
def test_training_is_measured_with_its_updates(name, updates, ray_session, monkeypatch):
    monkeypatch.setattr("marlserve.policies.session.stop", lambda: None)  # others still need it
    part, rows = benchmark.PARTS[name], benchmark.measure(name, 0.01)
    assert [row.side for row in rows] == list(part.sides)
    for row in rows:
        assert row.per_cpu_s > 0.0
        assert row.updates == pytest.approx(updates, rel=0.05)
        assert (row.ratio is None) == (part.base is None)


def test_sides_that_update_differently_have_no_ratio(monkeypatch):
    sides = {name: partial(partial, Work, 10, 1.0, n) for name, n in (("few", 1), ("many", 2))}
    monkeypatch.setitem(benchmark.PARTS, "two", benchmark.Part("steps", sides, "few"))
    with pytest.raises(ValueError, match="the sides of two update at different rates"):
        benchmark.measure("two", 1.0)
    monkeypatch.setitem(benchmark.PARTS, "two", benchmark.Part("steps", sides, None))
    assert [(row.updates, row.ratio) for row in benchmark.measure("two", 1.0)] == [
        (0.1, None),
        (0.2, None),
    ]


def test_updates_are_steps_of_one_optimizer():
    optimizers = [torch.optim.SGD([torch.zeros(1)]) for _ in range(2)]

    def play() -> int:
        for optimizer in (optimizers[0], *optimizers):
            optimizer.step()
        return 7

    side = timed(play)
    for _ in range(2):
        work = side()
        assert (work.units, work.updates) == (7, 2)


def test_the_plain_qmix_learns():
    """The two-step game of Rashid et al. 2018, for each of two agents half of 8 at best."""
    config = policies.config(
        "qmix", sequence_length=2, td_lambda=0.0, lr=2e-3, target_network_update_freq=50
    )
    torch.manual_seed(0)
    random.seed(0)
    reference = PlainQMIX(TwoStep(), config)
    reference.play(1_000)
    reference.epsilon = 0.0
    reference.play(5)
    assert sum(reference.replay[-1]["rewards"]) == 4.0


def test_the_kv_cache_is_benchmarked_at_the_load_of_2023():
    config = benchmark_kv_cache.config()
    copies = Problem(config, 8)
    copies.reset(list(range(8)))
    for _ in range(config.num_steps):
        copies.step(np.full((8, 1), 5))
    rate_per_s = copies.metrics()["arrived"].mean() / (3600.0 * config.episode_hours)
    assert rate_per_s == pytest.approx(2.56, rel=0.25)


def test_a_bad_budget_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--seconds", "nan", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == "error: seconds is nan; expected a positive number, at most 3600"
    for seconds in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match=f"seconds is {seconds}"):
            benchmark.main("simulator", seconds, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_done_leaves_out_the_warm_up():
    calls = iter([Work(1, 100.0, 5), Work(10, 1.0, 2), Work(30, 1.0, 3)])
    assert benchmark.total(lambda: next(calls), 1.5) == Work(40, 2.0, 5)
