"""The command line of the KV-cache experiments, end to end, on tiny episodes."""

import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from marlserve.envs.kv_cache import BASELINES, Config
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.harness.run import RETURN, read_experiment, read_progress
from marlserve.experiments.kv_cache import main
from marlserve.experiments.studies.kv_cache import settings
from marlserve.experiments.studies.kv_cache.settings import DATA
from marlserve.experiments.studies.kv_cache.study import STUDY
from marlserve.experiments.studies.kv_cache.tuning import RULES, loss_under_floor

TINY = ["--num-servers=20", "--request-scale=0.1", "--episode-hours=0.04", "--weeks=2"]
LABEL = "synthetic,num_servers=20,weeks=2,request_scale=0.1,episode_hours=0.04"
TRAINED = ("ppo", "a2c")
NAMES = {f"{name},lr=0.002" for name in TRAINED}
FEW = {"num_envs_per_env_runner": 32, "rollout_fragment_length": 8}


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(ray_session, tmp_path_factory) -> Path:
    """Where two algorithms were trained; not to be changed."""
    out = tmp_path_factory.mktemp("trained")
    given = ["--env-steps=512", "--evaluate-every=256", "--lr=0.002", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        for name in TRAINED:
            patch.setitem(settings.ENV_RUNNERS, name, FEW)
        assert main(["train", "--algorithms", *TRAINED, *TINY, *given]) == 0
    return out


@pytest.mark.slow
def test_a_run_leaves_models_logs_and_a_summary(trained):
    folder = trained / "kv_cache" / LABEL
    assert {run.name for run in folder.iterdir()} == NAMES
    for name in NAMES:
        run = folder / name / "seed_0"
        found = {path.name.split(".")[0] for path in run.iterdir()}
        files = {"experiment", "progress", "evaluation", "checkpoint", "best", "events", "summary"}
        assert found == files
        rows = read_progress(run)
        assert rows["env_steps"].iloc[-1] == 512
        assert rows[RETURN].notna().sum() == 2
        assert read_experiment(run)["evaluation_config"] == {"episode_hours": 0.04}
        text = (run / "summary.md").read_text()
        assert "512 of 512 env-steps" in text
        assert '"num_servers": 20' in text
        assert "evaluation_return" in text
        assert "| profit_usd |" in text


@pytest.mark.slow
def test_the_command_of_the_summary_evaluates_the_run(trained, tmp_path, capsys):
    run = trained / "kv_cache" / LABEL / f"{TRAINED[0]},lr=0.002" / "seed_0"
    line = (run / "summary.md").read_text().strip().splitlines()[-1]
    words = shlex.split(line)
    assert words[:3] == ["python", "experiments/kv_cache.py", "evaluate"]
    assert main([*words[2:], "--out", str(tmp_path), "--n-eval-episodes", "2"]) == 0
    results = read_results(tmp_path / "kv_cache" / LABEL / "results.csv")
    assert set(results["policy"]) == {*BASELINES, f"{TRAINED[0]},lr=0.002"}


@pytest.mark.slow
def test_evaluate_plays_all_models_below_a_folder(trained, tmp_path):
    out = shutil.copytree(trained, tmp_path / "runs")
    given = ["evaluate", "--models-dir", str(out / "kv_cache"), "--n-eval-episodes", "2", *TINY]
    assert main([*given, "--out", str(out)]) == 0
    folder = out / "kv_cache" / LABEL
    results = read_results(folder / "results.csv")
    assert set(results["policy"]) == {*NAMES, *BASELINES}
    assert (results.groupby("policy").size() == 2).all()
    assert results[["return", *STUDY.metrics]].notna().all(axis=None)
    assert results["profit_usd"].to_numpy() == pytest.approx(results["return"], rel=1e-4, abs=1e-6)
    assert (folder / "table.md").exists()
    assert main([*given, "--policy", "--checkpoint", "final", "--out", str(out)]) == 0
    results = read_results(folder / "results.csv")
    assert {f"{name},final" for name in NAMES} < set(results["policy"])
    assert main(["plot", *TINY, "--policies", "load_aware", *NAMES, "--out", str(out)]) == 0
    drawn = {"learning_curves", "performance_comparison", "pareto", "action_timeline"}
    assert {path.stem for path in (folder / "plots").iterdir()} == drawn


@pytest.mark.slow
def test_compare_does_all_of_it(ray_session, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(settings.ENV_RUNNERS, "a2c", FEW)
    given = ["compare", "--algorithms", "a2c", "--seeds", "0", *TINY, "--out", str(tmp_path)]
    given += ["--n-eval-episodes", "2", "--env-steps", "256", "--reward", "source"]
    assert main(given) == 0
    (folder,) = (tmp_path / "kv_cache").iterdir()
    assert folder.name == LABEL.replace("num_servers=20", "num_servers=20,reward=source")
    found = {path.name for path in folder.iterdir()}
    assert {"a2c", "results.csv", "played.json", "table.md", "plots"} <= found
    assert (folder / "a2c" / "seed_0" / "summary.md").exists()
    assert set(read_results(folder / "results.csv")["policy"]) == {"a2c", *BASELINES}
    assert "mean_source_reward" in (folder / "table.md").read_text()
    before = files(folder / "a2c")
    capsys.readouterr()
    assert main(given) == 0
    assert "is finished: not trained again" in capsys.readouterr().out
    assert files(folder / "a2c") == before


def test_continuous_policies_keep_their_way_of_acting():
    experiment = STUDY.experiment("synthetic", "td3")
    assert experiment.env_config["action"] == "continuous"
    assert experiment.preset == "synthetic"
    assert "action" in STUDY.interface


def test_a_floor_has_a_price_and_no_best_return():
    """The highest return on the way may be of a policy that serves less."""
    for candidate, priced in (("ppo", True), ("a2c", True), ("dqn", False)):
        experiment = STUDY.experiment("service_floor", candidate)
        assert experiment.settings.get("multiplier_lr", 0.0) == 0.2 * priced
        assert experiment.evaluate_every == 0
    assert "multiplier_lr" not in STUDY.experiment("realistic", "ppo").settings


def test_a_trial_that_meets_the_floor_is_better_than_all_that_do_not():
    def loss(profit_usd_per_day: list[float], unserved_beyond_floor: list[float]) -> float:
        rows = {
            "profit_usd_per_day": profit_usd_per_day,
            "unserved_beyond_floor": unserved_beyond_floor,
        }
        return loss_under_floor(pd.DataFrame(rows), Config(service_floor=0.9))

    order = [([9.0, 11.0], [-5.0, 4.0]), ([3.0, 3.0], [-9.0, 0.0])]  # in the mean over episodes
    order += [([-500.0, 0.0], [0.0, 0.0]), ([90.0, 90.0], [2.0, 0.0]), ([99.0, 99.0], [9.0, 9.0])]
    losses = [loss(*rows) for rows in order]
    assert losses == sorted(losses)
    assert losses[0] == -10.0


def test_rules_are_tuned_for_profit_and_for_the_floor(tmp_path):
    given = ["tune", *TINY, "--request-scale=0.4", "--trials=3", "--service-floor=1.0"]
    given += ["--training-episodes=4", "--episodes=2", "--out", str(tmp_path)]
    assert main(given) == 0
    (folder,) = (tmp_path / "kv_cache").iterdir()
    trials = pd.read_csv(folder / "trials.csv")
    assert trials.groupby("rule").size().to_dict() == dict.fromkeys(RULES, 3)
    assert (trials["the floor"] > 1e9).any(), "denials are none that a floor of all allows"
    played = " ".join(set(read_results(folder / "results.csv")["policy"]))
    assert all(aim in played for aim in ("profit", "the floor", "load_aware_deny, best of 3"))


def test_recorded_files_are_asked_for(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv(DATA, raising=False)
    for command in ("train", "evaluate", "compare", "plot"):
        assert main([command, "--config", "realistic", "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "give --invocations-path and --price-path and --profile-path, or set" in error
        assert "azure_llm_2024/invocations_ten_second_Coding.csv" in error
    assert main(["evaluate", "--config", "realistic", "--price-path", "x.csv"]) == 2
    assert "give --invocations-path and --profile-path" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_recorded_files_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA, str(tmp_path))
    for name, config in settings.presets().items():
        if name in settings.FILES:
            assert config.price_path.startswith(str(tmp_path / "caiso"))
        else:
            assert config.price_path == ""
    played = replace(STUDY.presets["realistic"], split="test")
    assert STUDY.folder(tmp_path, "realistic", played).name == "realistic"


@pytest.mark.skipif(not os.environ.get(DATA), reason=f"{DATA} names no folder of recorded files")
@pytest.mark.parametrize("config", settings.FILES)
def test_recorded_files_are_played(config, tmp_path):
    given = ["--config", config, "--n-eval-episodes", "2", "--episode-hours", "0.1"]
    assert main(["evaluate", "--policy", "fullkv", *given, "--out", str(tmp_path)]) == 0
    results = read_results(tmp_path / "kv_cache" / f"{config},episode_hours=0.1" / "results.csv")
    assert (results["arrived"] > 100).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --policy nobody", "policy is 'nobody'; allowed are folders and"),
        ("evaluate --models-dir {tmp}", "there is no run on kv_cache in"),
        ("evaluate --policy", "there is nothing to play"),
        ("evaluate --policy fullkv --n-eval-episodes 0", "episodes is 0; it must be at least 1"),
        ("evaluate --policy fullkv --num-servers 0", "num_servers is 0"),
        ("train --algorithms ppo --split test", "split='test', which is held out of training"),
        ("compare --split all", "split is 'all'; compare trains on 'train'"),
        ("compare --start-time 2024-05-08T00:00:00", "so that they share no time"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, capsys):
    words = [word.format(tmp=tmp_path) for word in arguments.split()]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("experiment.json"))
