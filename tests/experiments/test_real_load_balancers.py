"""The testbed: its traffic and its servers are the simulator's, and the comparison runs."""

import time
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from load_balance_cases import remembered
from weight_policies import policy_file

from marlserve.envs.load_balance import DEGRADED, MODERATE, Config, Problem, traffic
from marlserve.experiments import real_load_balancers
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.testbed import comparison
from marlserve.experiments.testbed.contenders import RULE, contenders
from marlserve.experiments.testbed.episode import drawn, metrics, servers
from marlserve.experiments.testbed.replay import FLOW, replay
from marlserve.policies import export

SHORT = replace(DEGRADED, warm_up_s=5.0, episode_s=20.0, split="test")


def learned(folder, config: Config = MODERATE, **changes):
    """The policy file of what says that it was trained so."""
    trained = replace(config, **{"dispatch": RULE, **changes})
    file = policy_file([0] * config.num_servers, config=trained)
    told = asdict(Experiment("load_balance", "ppo", asdict(trained)))
    return export.save(replace(file, training={"experiment": told}), folder)


def test_an_episode_has_the_simulators_jobs_and_slow_servers():
    problem = Problem(SHORT)
    given = remembered(problem)
    problem.reset([7])
    action = np.zeros((1, 2, SHORT.num_servers), int)
    for _ in range(SHORT.num_steps):
        problem.step(action)
    scene = traffic.episode(SHORT, np.random.default_rng(7))
    jobs = drawn(scene.traffic, SHORT)
    for column, parts in zip(jobs, zip(*(x[1:] for x in given), strict=True), strict=True):
        np.testing.assert_array_equal(column, np.concatenate(parts))
    assert len(jobs[0]) > 5_000
    assert scene.changes


@pytest.mark.slow
def test_servers_share_their_cores_in_virtual_time():
    """Two jobs of one length that overlap on one core spend the same time there, whenever the
    second one comes; what finds a server full is told so."""
    with servers(Config(cores=(1,), max_running=2, max_backlog=0)) as (_, ports):
        jobs = np.zeros(3), np.full(3, 0.5), np.zeros(3, int)
        flows = replay(*jobs, ports, time.monotonic())
    done = flows[flows["status"] == 200]
    assert sorted(flows["status"]) == [200, 200, 503]
    assert done["spent_s"][0] == pytest.approx(done["spent_s"][1], abs=1e-5)
    assert 0.5 < done["spent_s"][0] <= 1.0
    assert (done["latency_s"] >= done["spent_s"]).all()


def test_metrics_leave_out_the_way_and_count_what_failed():
    flows = np.zeros(5, FLOW)
    flows["latency_s"], flows["spent_s"] = [0.2, 0.4, 9.0, 9.0, 0.6], [0.1, 0.3, 0.0, 0.0, 0.5]
    flows["status"], flows["server"] = [200, 200, 503, 0, 200], [0, 1, -1, -1, 2]
    found = metrics(flows, Config(cores=(1, 3, 5)))
    assert (found["completed"], found["rejected"], found["failed"]) == (3, 1, 1)
    assert found["mean_latency_s"] == pytest.approx(0.4)
    assert found["way_s"] == pytest.approx(0.1)
    assert found["jain_index"] == pytest.approx(1.0)


def test_the_table_compares_on_the_same_episodes(tmp_path):
    file = tmp_path / "results.csv"
    rng = np.random.default_rng(0)
    for seed in range(5):
        base = rng.uniform(0.03, 0.05)
        for policy, factor in (("leastconn", 1.0), ("ppo", 0.9)):
            row = {"preset": "degraded", "policy": policy, "episode_seed": seed}
            row |= {"mean_latency_s": factor * base, "p99_latency_s": 0.5, "jain_index": 0.9}
            row |= {"rejected": 1.0, "failed": 1.0, "way_s": 0.001}
            row |= {"predicted_mean_latency_s": factor * base - 0.001}
            row |= {"decision_s": 0.004} if policy == "ppo" else {}
            comparison.add(file, row)
    text = comparison.table(comparison.read(file))
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    policies = {line[0].strip("| "): line for line in lines}
    assert "-10.0 [-10.0, -10.0] vs leastconn" in policies["ppo"]
    assert policies["leastconn"][6] == "2"
    assert policies["ppo"][9] == "+0.0"
    with pytest.raises(ValueError, match="nothing was measured"):
        comparison.table(pd.DataFrame())


def test_a_policy_of_another_rule_is_refused(tmp_path):
    assert set(contenders(MODERATE, learned(tmp_path / "good"), 1.0)) > {"leastconn", "ppo"}
    other = learned(tmp_path / "other", dispatch="shortest_expected_delay")
    with pytest.raises(ValueError, match="was trained with dispatch 'shortest_expected_delay'"):
        contenders(MODERATE, other, 1.0)
    mute = export.save(replace(policy_file(), training={}), tmp_path / "mute")
    with pytest.raises(ValueError, match="does not tell its experiment"):
        contenders(MODERATE, mute, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "value"), [("presets", "none"), ("policies", "none")])
def test_bad_flags_are_named(tmp_path, capsys, flag, value):
    folder = learned(tmp_path / "policy")
    words = ["compare", f"--{flag}", value, "--learned", str(folder), "--out", str(tmp_path)]
    assert real_load_balancers.main(words) == 2
    assert f"{flag} has" in capsys.readouterr().err


@pytest.mark.slow
def test_the_comparison_runs_and_goes_on_where_it_was(tmp_path, capfd):
    folder = learned(tmp_path / "policy")
    words = ["compare", "--presets", "moderate", "--policies", "leastconn", "ppo"]
    words += ["--episodes", "1", "--warm-up-s", "1", "--episode-s", "2", "--slow-motion", "2"]
    words += ["--most-way-s", "10", "--learned", str(folder), "--out", str(tmp_path)]
    assert real_load_balancers.main(words) == 0
    rows = comparison.read(tmp_path / "results.csv")
    assert rows["policy"].tolist() == ["leastconn", "ppo"]
    assert (rows["completed"] > 500).all()
    assert (rows["failed"] == 0).all()
    assert rows["decision_s"].notna().tolist() == [False, True]
    assert (rows["predicted_mean_latency_s"] > 0.0).all()
    assert "leastconn 2147483648: mean" in capfd.readouterr().out
    assert real_load_balancers.main(words) == 0
    assert "leastconn 2147483648: mean" not in capfd.readouterr().out
    assert (tmp_path / "table.md").read_text().startswith("**moderate**:")
