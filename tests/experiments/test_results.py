"""Episodes are played alike by all, results are merged, intervals are what a hand computes."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from result_rows import row, rows_of
from tiny_runs import contents
from toy_problem import Drift, DriftConfig

from marlserve.envs.load_balance import BASELINES, MODERATE
from marlserve.experiments.harness import evaluate
from marlserve.experiments.harness.evaluate import play
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.results import check_fits, merge_results, read_results
from marlserve.experiments.reports import table
from marlserve.experiments.studies.load_balance.study import STUDY

FAST = {"num_envs_per_env_runner": 4, "rollout_fragment_length": 8}
LEARNED = ("vdn", "s_sac")


def push(observations, masks=None):
    return {agent: (seen[..., 0] > 0).astype(int) for agent, seen in observations.items()}


def test_a_batch_plays_the_episodes_of_single_copies():
    seeds = [7, 8, 9, 10, 11]
    together = play(Drift(DriftConfig(), len(seeds)), push, seeds)
    alone = [play(Drift(DriftConfig(), 1), push, [seed]) for seed in seeds]
    pd.testing.assert_frame_equal(together, pd.concat(alone, ignore_index=True))
    assert together["episode_seed"].tolist() == seeds


def test_the_return_is_the_mean_over_agents_summed_over_steps():
    copies, total = Drift(DriftConfig(num_agents=3), 1), 0.0
    seen, over = copies.reset([5]), False
    while not over:
        actions = np.stack([push({"x": seen[:, i]})["x"] for i in range(3)], axis=1)
        seen, rewards, terminated, truncated = copies.step(actions)
        total += rewards[0].mean()
        over = terminated[0] or truncated[0]
    played = play(Drift(DriftConfig(num_agents=3), 1), push, [5])
    assert played["return"].tolist() == [pytest.approx(total)]


def test_as_many_seeds_as_copies_are_needed():
    with pytest.raises(ValueError, match="2 seeds for 3 copies"):
        play(Drift(DriftConfig(), 3), push, [1, 2])


@pytest.mark.parametrize("name", BASELINES)
def test_rows_do_not_depend_on_the_size_of_the_batch(name):
    config = replace(MODERATE, episode_s=1.0, split="test")
    (rule,) = STUDY.contestants(config, [name])
    some, one = (evaluate.evaluate(rule, "load_balance", 3, num_envs=n) for n in (2, 1))
    pd.testing.assert_frame_equal(some, one)
    assert some["episode_seed"].tolist() == evaluate.held_out_seeds(3)
    assert some["training_seed"].isna().all()
    assert (some["oracle"] == BASELINES[name].oracle).all()


CONFIG = replace(MODERATE, split="test")


def merged(file, rows, config=CONFIG, **more):
    return merge_results(file, rows, "load_balance", config, **more)


def test_results_take_the_place_of_the_same_policy_and_seed(tmp_path, capsys):
    file = tmp_path / "deep" / "results.csv"
    merged(file, rows_of("sed", {None: [1.0, 2.0]}))
    merged(file, rows_of("qmix", {0: [3.0, 4.0], 1: [5.0, 6.0]}))
    merged(file, rows_of("sed", {None: [7.0]}))
    assert capsys.readouterr().out == ""
    rows = merged(file, rows_of("qmix", {1: [8.0, 9.0]}))
    assert "qmix, seed 1: played anew, in place of its rows" in capsys.readouterr().out
    pd.testing.assert_frame_equal(read_results(file), rows, check_dtype=False)
    kept = rows.groupby(["policy", "training_seed"], dropna=False)["m"].apply(list)
    assert kept.tolist() == [[3.0, 4.0], [8.0, 9.0], [7.0]]
    assert {path.name for path in file.parent.iterdir()} == {".lock", "results.csv", "played.json"}


def test_two_trainings_of_one_name_are_two_policies(tmp_path, capsys):
    file = tmp_path / "results.csv"
    short, long = (Experiment("load_balance", "qmix", env_steps=n) for n in (100, 200))
    assert short.digest != long.digest
    assert short.digest == replace(short, seed=1).digest
    for experiment, value in ((short, 1.0), (long, 2.0)):
        rows = rows_of("qmix", {0: [value], 1: [value]}).assign(run=experiment.digest)
        rows = merged(file, rows, experiments={experiment.digest: vars(experiment)})
    assert "qmix, seed 1: of another training than that in" in capsys.readouterr().out
    names = {f"qmix#{short.digest}": 1.0, f"qmix#{long.digest}": 2.0}
    assert rows.groupby("policy")["m"].mean().to_dict() == names
    known = json.loads((tmp_path / "played.json").read_text())["experiments"]
    assert {digest: x["env_steps"] for digest, x in known.items()} == {
        short.digest: 100,
        long.digest: 200,
    }


def test_what_was_played_under_another_config_is_refused(tmp_path):
    file = tmp_path / "results.csv"
    merged(file, rows_of("sed", {None: [1.0]}))
    before = contents(tmp_path)
    other = replace(CONFIG, episode_s=2.0)
    with pytest.raises(ValueError, match=r"played with config\.episode_s .*, this was with 2\.0"):
        merged(file, rows_of("lsq", {None: [1.0]}), other)
    with pytest.raises(ValueError, match=r"played with config\.episode_s .*, this was with 2\.0"):
        check_fits(file, "load_balance", other)  # before it takes time to play
    check_fits(file, "load_balance", CONFIG)
    assert contents(tmp_path) == before
    (tmp_path / "played.json").unlink()
    with pytest.raises(ValueError, match="does not say what .* holds"):
        merged(file, rows_of("lsq", {None: [1.0]}))


def test_results_with_other_columns_are_left_alone(tmp_path):
    file = tmp_path / "results.csv"
    merged(file, rows_of("sed", {None: [1.0]}))
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"\['k', 'm'\] are not in both"):
        merged(file, rows_of("lsq", {None: [1.0]}).rename(columns={"m": "k"}))
    file.with_name("broken.csv").write_text("policy\nsed\n")
    with pytest.raises(ValueError, match="has no columns"):
        read_results(file.with_name("broken.csv"))
    with pytest.raises(ValueError, match="evaluate something first"):
        read_results(file.with_name("missing.csv"))
    assert file.read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from result_rows import rows_of
from marlserve.envs.load_balance import MODERATE
from marlserve.experiments.harness.results import merge_results

for i in range(20):
    rows = rows_of(f"{sys.argv[2]}_{i}", {None: [float(i)]})
    merge_results(Path(sys.argv[1]), rows, "load_balance", MODERATE)
"""


@pytest.mark.slow
def test_two_processes_lose_nothing_of_each_other(tmp_path):
    file = tmp_path / "results.csv"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), name]) for name in ("a", "b")
    ]
    assert [writer.wait(timeout=250) for writer in writers] == [0, 0]
    policies = read_results(file)["policy"].tolist()
    assert sorted(policies) == sorted(f"{name}_{i}" for name in "ab" for i in range(20))
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "results.csv", "played.json"}


@pytest.mark.parametrize("episodes", [10, 59])
def test_the_mean_is_within_the_interval_of_equal_values(episodes):
    # Plots refuse an interval that rounding puts beside its mean.
    result = row(table.table(rows_of("a", {i: [0.1] * episodes for i in range(6)}), ["m"]), "a")
    assert result["m_low"] <= result["m"] <= result["m_high"]


def test_the_table_tells_apart_what_pairs_do():
    noise = np.random.default_rng(0).uniform(1.0, 2.0, size=30)
    results = pd.concat(
        [
            rows_of("best", {None: noise}),
            rows_of("worse", {None: noise + 0.02}),
            rows_of("told", {None: noise - 1.0}, oracle=True),
            rows_of("tied", {None: np.roll(noise, 1) + 0.01}),
        ]
    )
    result = table.table(results, ["m"], reference="best")
    differences = row(result, "worse")[["difference", "difference_low", "difference_high"]]
    assert differences.tolist() == [pytest.approx(0.02)] * 3
    assert result["policy"].tolist() == ["told", "best", "tied", "worse"]
    assert result["rank"].tolist() == [pd.NA, 1, 1, 3]
    assert result["tied"].tolist() == [False, True, True, False]
    text = table.markdown(result, ["m"])
    assert all(f"| {policy} |" in text for policy in result["policy"])


def test_larger_can_be_better():
    results = pd.concat([rows_of("low", {None: [1.0, 2.0]}), rows_of("high", {None: [3.0, 4.0]})])
    result = table.table(results, ["m"], larger_is_better=True, reference="low")
    assert result["policy"].tolist() == ["high", "low"]
    assert result["rank"].tolist() == [1, 2]
    assert row(result, "high")["difference"] == pytest.approx(2.0)


def test_only_common_episodes_count():
    results = pd.concat([rows_of("a", {None: [1.0, 5.0]}), rows_of("b", {None: [2.0]})])
    result = table.table(results, ["m"])
    assert row(result, "a")["m"] == 1.0
    assert set(result["episodes"]) == {1}
    apart = rows_of("c", {None: [1.0]}).assign(episode_seed=77)
    with pytest.raises(ValueError, match="no episode was played by all"):
        table.table(pd.concat([results, apart]), ["m"])


def test_unknown_columns_and_policies_are_errors():
    results = rows_of("a", {None: [1.0]})
    with pytest.raises(ValueError, match="no metric 'n'"):
        table.table(results, ["n"])
    with pytest.raises(ValueError, match="'b' is not among"):
        table.table(results, ["m"], reference="b")
