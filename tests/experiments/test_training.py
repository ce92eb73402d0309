"""Training leaves a folder that can be played, resumed and trusted, whenever it is stopped."""

import pickle
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from gymnasium.spaces import Discrete
from tiny_runs import FEW, TINY, contents

from marlserve import envs, policies
from marlserve.envs.base import Problem
from marlserve.experiments.harness import training
from marlserve.experiments.harness.evaluate import (
    FIRST_TEST_SEED,
    evaluate,
    held_out_seeds,
)
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.run import Run, read_experiment, read_progress
from marlserve.experiments.harness.training import train
from marlserve.experiments.studies import runs
from marlserve.policies.checkpoint import CheckpointPolicy

pytestmark = pytest.mark.slow

SHORT = {"load_balance": {"episode_s": 2.0}, "kv_cache": {"episode_hours": 0.05}}


@pytest.fixture
def interrupt(monkeypatch):
    """Call it, and the next training is interrupted in its second iteration."""

    def arrange(number: int = signal.SIGINT) -> None:
        rows, real = [], training._row

        def row(*args):
            rows.append(real(*args))
            if len(rows) == 2:
                signal.raise_signal(number)
            return rows[-1]

        monkeypatch.setattr(training, "_row", row)

    return arrange


@pytest.fixture(scope="module")
def finished(ray_session, tmp_path_factory) -> Path:
    """Where a finished run of TINY is; not to be changed."""
    out = tmp_path_factory.mktemp("finished")
    train(TINY, out, log=("tensorboard", "csv"), show=False)
    return out


@pytest.fixture
def stopped(ray_session, tmp_path, interrupt, monkeypatch) -> Path:
    """Where a run of TINY is that was interrupted in its second iteration."""
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path, show=False)
    monkeypatch.undo()
    return tmp_path


# Every algorithm on one problem, and every problem with one algorithm.
PAIRS = dict.fromkeys(
    [*(("kv_cache", name) for name in policies.names()), *((name, "ppo") for name in envs.names())]
)


@pytest.mark.parametrize(("problem", "algorithm"), PAIRS)
def test_train_then_play_repeats(problem, algorithm, ray_session, tmp_path):
    settings = dict(SHORT.get(problem, {}))
    if problem == "kv_cache" and Discrete not in policies.module(algorithm).ACTION_SPACES:
        settings["action"] = "continuous"
    experiment = Experiment(problem, algorithm, settings, env_runners=FEW, env_steps=64)
    folders = [train(experiment, tmp_path / name, show=False) for name in ("one", "other")]
    config = envs.module(problem).Config(**settings)
    first, again, other = (
        evaluate(runs.learned(folder, config), problem, 2) for folder in (folders[0], *folders)
    )
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(first, other)


def test_a_run_says_what_it_was_and_how_it_went(finished):
    folder = finished / "load_balance" / "tiny" / "qmix" / "seed_0"
    assert Experiment(**read_experiment(folder)) == TINY
    rows = read_progress(folder)
    assert rows["env_steps"].tolist() == [32, 64, 96, 128]
    assert rows["seconds"].is_monotonic_increasing
    assert {"cpu_seconds", "episode_return_mean", "mean_latency_s", "loss", "epsilon"} <= set(rows)
    assert rows["loss"].notna().any()
    assert rows["episode_return_mean"].notna().any()
    names = {path.name.split(".")[0] for path in folder.iterdir()}
    assert names == {"experiment", "progress", "checkpoint", "events"}
    assert len(pd.read_csv(folder / "progress.csv")) == len(read_progress(folder)) > 1


def test_a_finished_run_is_not_trained_again(finished, capsys):
    before = contents(finished)
    train(TINY, finished)
    assert "not trained again" in capsys.readouterr().out
    assert contents(finished) == before


def test_overwrite_begins_anew_and_leaves_other_files_alone(finished, tmp_path):
    folder = tmp_path / TINY.folder
    shutil.copytree(finished / TINY.folder, folder)
    (folder / "notes.txt").write_text("mine")
    changed = replace(TINY, env_steps=32)
    train(changed, tmp_path, overwrite=True, show=False)
    assert read_progress(folder)["env_steps"].tolist() == [32]
    assert read_experiment(folder)["env_steps"] == 32
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on(ray_session, tmp_path, interrupt, monkeypatch, capsys, number):
    interrupt(number)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path)
    folder = tmp_path / TINY.folder
    assert "stopped at 64 of 128 env-steps" in " ".join(capsys.readouterr().out.split())
    CheckpointPolicy(folder)
    asked = (folder / "experiment.json").read_bytes()
    with (folder / "progress.jsonl").open("a") as file:  # later than the checkpoint, and cut off
        file.write('{"env_steps": 96, "seconds": 1e9}\n{"env_st')
    monkeypatch.undo()
    train(TINY, tmp_path)
    assert "going on from 64 env-steps" in " ".join(capsys.readouterr().out.split())
    rows = read_progress(folder)
    assert rows["env_steps"].tolist() == [32, 64, 96, 128]
    assert rows["seconds"].is_monotonic_increasing
    assert rows["seconds"].max() < 1e6
    assert (folder / "experiment.json").read_bytes() == asked


def test_only_a_run_that_goes_on_keeps_its_replay(stopped, finished):
    def state(out: Path) -> dict:
        file = out / TINY.folder / "checkpoint" / "algorithm_state.pkl"
        return pickle.loads(file.read_bytes())

    assert "replay" in state(stopped)
    assert "replay" not in state(finished)


def test_another_experiment_in_the_folder_is_an_error(finished):
    before = contents(finished)
    for change, message in (
        ({"env_steps": 256}, "env_steps is 128 there, 256 is asked for"),
        ({"settings": TINY.settings | {"lr": 0.1}}, r"settings\.lr is None there, 0\.1 is asked"),
        ({"env_config": {"episode_s": 3.0}}, r"env_config\.episode_s is 2\.0 there, 3\.0 is"),
    ):
        with pytest.raises(ValueError, match=message):
            train(replace(TINY, **change), finished, show=False)
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("checkpoint/algorithm_state.pkl", "not a pickle", "checkpoint is broken"),
        ("checkpoint/learner_group/learner/state.pkl", "", "checkpoint is broken"),
        ("checkpoint/counters.json", "{", "checkpoint is broken"),
        ("experiment.json", "{", "experiment.json is broken"),
        ("experiment.json", None, "has no experiment.json"),
    ],
)
def test_a_broken_folder_is_an_error_that_loses_nothing(stopped, file, text, message):
    path = stopped / TINY.folder / file
    path.unlink() if text is None else path.write_text(text)
    before = contents(stopped)
    with pytest.raises(ValueError, match=message):
        train(TINY, stopped, show=False)
    assert contents(stopped) == before


def test_a_broken_policy_is_not_played(stopped):
    (stopped / TINY.folder / "checkpoint" / "class_and_ctor_args.pkl").write_text("")
    with pytest.raises(ValueError, match="cannot be read"):
        runs.learned(stopped / TINY.folder, TINY.problem_config())


def test_a_checkpoint_that_was_being_exchanged_is_found(finished, tmp_path):
    folder = tmp_path / TINY.folder
    shutil.copytree(finished / TINY.folder, folder)
    (folder / "checkpoint").rename(folder / "checkpoint.old")
    (folder / "checkpoint.new").mkdir()
    run = Run(TINY, tmp_path)
    assert run.counters()["env_steps"] == 128
    with run.writing():
        CheckpointPolicy(folder)


def test_bad_settings_leave_the_old_run_alone(finished):
    before = contents(finished)
    for settings in ({"no_such": 1}, {"mixer": "blender"}):
        with pytest.raises(ValueError, match="no_such|blender"):
            train(replace(TINY, settings=settings), finished, overwrite=True, show=False)
    assert contents(finished) == before


def test_training_never_meets_the_held_out_seeds(ray_session, tmp_path, monkeypatch):
    met, reset = [], Problem.reset

    def recorded(self, seeds=None, copies=None):
        met.extend(seed for seed in seeds or [] if seed is not None)
        return reset(self, seeds, copies)

    monkeypatch.setattr(Problem, "reset", recorded)
    train(TINY, tmp_path, show=False)
    assert len(met) == FEW["num_envs_per_env_runner"]
    assert max(met) < FIRST_TEST_SEED == min(held_out_seeds(10_000))
