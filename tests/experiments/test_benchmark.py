"""The benchmark runs, with a budget far too small to say anything."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from marlserve.envs.kv_cache import Problem
from marlserve.experiments import benchmark
from marlserve.experiments.benchmark import Row
from marlserve.experiments.benchmarks import kv_cache as benchmark_kv_cache

SCRIPT = Path(benchmark.__file__)


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=200
    )


def test_the_script_runs_and_keeps_what_other_parts_measured(tmp_path):
    table = tmp_path / "runs" / "benchmark.csv"
    benchmark.write([Row("sampling", "mine", "env-steps", 2.5, 1.0)], table)
    benchmark.write([Row("simulator", "old", "jobs", 2.5, 1.0)], table)
    done = run("simulator", "--seconds", "0.01", "--out", str(table.parent))
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(table)
    assert list(rows) == ["part", "side", "unit", "per_cpu_s", "ratio"]
    assert rows["side"].tolist() == ["mine", *benchmark.PARTS["simulator"].sides]
    for side in benchmark.PARTS["simulator"].sides:
        assert side in done.stdout


@pytest.mark.parametrize("name", ["simulator", "sampling", "kv_cache", "kv_compression"])
def test_every_side_is_measured(name):
    part, rows = benchmark.PARTS[name], benchmark.measure(name, 0.01)
    assert [row.side for row in rows] == [*part.sides, *part.published]
    assert all(row.per_cpu_s > 0.0 for row in rows)
    assert [row.ratio for row in rows if row.side == part.base] == [1.0]


@pytest.mark.parametrize(
    ("name", "side", "published"),
    [
        ("training", "QMIX", 219.0),
        ("sac_training", "recurrent SAC", 23.9),
        ("kv_cache_training", "PPO", 349.5),
    ],
)
def test_training_is_measured(name, side, published, ray_session, monkeypatch):
    monkeypatch.setattr("marlserve.policies.session.stop", lambda: None)  # others still need it
    rows = {row.side: row for row in benchmark.measure(name, 0.01)}
    assert rows[side].per_cpu_s > 0.0
    assert rows[benchmark.PARTS[name].base].per_cpu_s == published
    assert rows[side].ratio == rows[side].per_cpu_s / published


def test_the_kv_cache_is_benchmarked_at_the_load_of_2023():
    config = benchmark_kv_cache.config()
    copies = Problem(config, 8)
    copies.reset(list(range(8)))
    for _ in range(config.num_steps):
        copies.step(np.full((8, 1), 5))
    rate_per_s = copies.metrics()["arrived"].mean() / (3600.0 * config.episode_hours)
    assert rate_per_s == pytest.approx(2.56, rel=0.25)


def test_a_bad_budget_is_one_line(tmp_path):
    done = run("simulator", "--seconds", "nan", "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "error: seconds is nan; expected a positive number, at most 3600\n"
    for seconds in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match=f"seconds is {seconds}"):
            benchmark.main("simulator", seconds, tmp_path)
    assert not list(tmp_path.iterdir())


def test_per_cpu_s_leaves_out_the_warm_up():
    calls = iter([(1, 100.0), (10, 1.0), (30, 1.0)])
    assert benchmark.per_cpu_s(lambda: next(calls), 1.5) == 20.0
