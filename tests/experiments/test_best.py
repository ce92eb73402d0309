"""The best policy of a training is kept, and looking for it changes nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_runs import FEW, TINY, contents

from marlserve import envs
from marlserve.envs.base import Problem, settings_of
from marlserve.experiments.harness import training, validation
from marlserve.experiments.harness.evaluate import FIRST_TEST_SEED
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.run import RETURN, Run, read_experiment, read_progress
from marlserve.experiments.harness.training import train
from marlserve.experiments.harness.validation import FIRST_VALIDATION_SEED
from marlserve.experiments.studies import runs
from marlserve.policies.checkpoint import CheckpointPolicy

pytestmark = pytest.mark.slow

WATCHED = replace(
    TINY, evaluate_every=64, evaluation_episodes=2, evaluation_config={"episode_s": 1.0}
)


@pytest.fixture(scope="module")
def watched(ray_session, tmp_path_factory) -> Path:
    """A finished run of WATCHED; not to be changed."""
    return train(WATCHED, tmp_path_factory.mktemp("watched"), show=False)


@pytest.fixture
def returns(monkeypatch):
    """Call it with what the next evaluations shall find."""

    def arrange(*values: float) -> None:
        left = list(values)

        def play(problem, policy, seeds):
            return pd.DataFrame({"episode_seed": seeds, "return": left.pop(0), "mean_latency_s": 1})

        monkeypatch.setattr(validation, "play", play)

    return arrange


def weights(checkpoint: Path) -> bytes:
    return (checkpoint / "learner_group/learner/rl_module/shared/module_state.pkl").read_bytes()


def test_evaluations_are_in_the_progress_and_leave_a_checkpoint(watched):
    rows = read_progress(watched).set_index("env_steps")
    evaluated = rows[rows[RETURN].notna()]
    assert evaluated.index.tolist() == [64, 128]
    assert evaluated["evaluation_mean_latency_s"].gt(0.0).all()
    counters = json.loads((watched / "best" / "counters.json").read_text())
    assert counters[RETURN] == evaluated[RETURN].max()
    assert counters["env_steps"] == evaluated[RETURN].idxmax()
    assert not list(watched.glob("best.*"))
    assert list((watched / "best").rglob("*replay*")) == []


@pytest.mark.parametrize("algorithm", ["qmix", "ppo"])
def test_a_run_with_evaluations_takes_the_same_course(algorithm, watched, ray_session, tmp_path):
    tiny = TINY if algorithm == "qmix" else replace(TINY, algorithm="ppo", name="", settings={})
    if algorithm != "qmix":
        asked = replace(WATCHED, algorithm="ppo", name="", settings={})
        watched = train(asked, tmp_path / "watched", show=False)
    alone = train(tiny, tmp_path, show=False)
    rows, other = read_progress(watched), read_progress(alone)
    own = [name for name in rows if name.startswith("evaluation_")]
    clocks = ["seconds", "cpu_seconds"]
    pd.testing.assert_frame_equal(
        rows.drop(columns=[*own, *clocks]), other.drop(columns=clocks), check_exact=True
    )
    assert weights(watched / "checkpoint") == weights(alone / "checkpoint")
    assert not (alone / "best").exists()


def test_the_best_is_kept_and_a_restart_knows_its_value(
    ray_session, tmp_path, returns, monkeypatch
):
    rows, real = [], training._row

    def stop(*args):
        rows.append(real(*args))
        if len(rows) == 3:
            training.signal.raise_signal(training.signal.SIGINT)
        return rows[-1]

    monkeypatch.setattr(training, "_row", stop)
    returns(5.0)
    with pytest.raises(KeyboardInterrupt):
        train(WATCHED, tmp_path, show=False)
    folder = tmp_path / WATCHED.folder
    before = contents(folder / "best")
    returns(4.0)  # at the end: not better
    train(WATCHED, tmp_path, show=False)
    assert contents(folder / "best") == before
    assert read_progress(folder)[RETURN].dropna().tolist() == [5.0, 4.0]
    assert weights(folder / "best") != weights(folder / "checkpoint")


def test_a_return_that_is_no_number_is_never_best(ray_session, tmp_path, returns):
    returns(float("nan"), -3.0)
    folder = train(WATCHED, tmp_path, show=False)
    assert json.loads((folder / "best/counters.json").read_text())[RETURN] == -3.0


def test_validation_seeds_are_apart(ray_session, tmp_path, monkeypatch):
    met, reset = [], Problem.reset

    def recorded(self, seeds=None, copies=None):
        met.extend((self.config.episode_s, seed) for seed in seeds or [] if seed is not None)
        return reset(self, seeds, copies)

    monkeypatch.setattr(Problem, "reset", recorded)
    train(WATCHED, tmp_path, show=False)
    training_seeds = [seed for episode_s, seed in met if episode_s == 2.0]
    validation_seeds = [seed for episode_s, seed in met if episode_s == 1.0]
    assert len(training_seeds) == FEW["num_envs_per_env_runner"]
    assert max(training_seeds) < FIRST_TEST_SEED
    assert validation_seeds == [FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + 1] * 2
    assert FIRST_VALIDATION_SEED - FIRST_TEST_SEED > 10**9


def test_a_run_plays_its_best_unless_told_otherwise(watched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(watched, run)
    shutil.rmtree(run / "best")
    with pytest.raises(ValueError, match="has no best checkpoint"):
        CheckpointPolicy(run, "best")
    assert CheckpointPolicy(run).path == (run / "checkpoint").resolve()
    assert CheckpointPolicy(watched).path == (watched / "best").resolve()
    assert CheckpointPolicy(watched, "final").path == (watched / "checkpoint").resolve()
    config = WATCHED.problem_config()
    final = runs.learned(watched, config, which="final")
    problem = envs.make_batch(WATCHED.problem, **settings_of(config))
    assert final.policy(problem).path.name == "checkpoint"
    with pytest.raises(ValueError, match="which is 'last'; allowed are"):
        CheckpointPolicy(watched, "last")


def test_a_checkpoint_of_a_run_keeps_its_interface(watched):
    config = replace(WATCHED.problem_config(), episode_s=5.0)
    for folder in (watched, watched / "best", watched / "checkpoint"):
        assert runs.learned(folder, config, ("episode_s",)).config.episode_s == 2.0


def test_a_broken_best_is_an_error_that_loses_nothing(watched, tmp_path):
    run = tmp_path / WATCHED.folder
    shutil.copytree(watched, run)
    (run / "best" / "counters.json").write_text("{")
    with pytest.raises(ValueError, match="best is broken"):
        Run(WATCHED, tmp_path).best_return()


def test_runs_from_before_there_were_evaluations_are_read(watched, tmp_path):
    run = tmp_path / TINY.folder
    shutil.copytree(watched, run)
    old = {k: v for k, v in read_experiment(run).items() if not k.startswith("evaluat")}
    (run / "experiment.json").write_text(json.dumps(old))
    assert Experiment(**read_experiment(run)) == TINY
    assert Run(TINY, tmp_path).counters()["env_steps"] == 128
    with pytest.raises(ValueError, match="evaluate_every is 0 there, 64 is asked for"):
        Run(WATCHED, tmp_path).counters()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluate_every": -1}, "evaluate_every is -1; it must be at least 0"),
        ({"evaluation_episodes": 0}, "evaluation_episodes is 0; it must be at least 1"),
        ({"evaluation_config": {"no_such": 1}}, "no field \\['no_such'\\]"),
        ({"evaluation_config": {"split": "test"}}, "evaluation_config .* held out of training"),
        ({"env_config": {"split": "test"}}, "env_config has split='test', which is held out"),
        ({"evaluation_config": {"step_s": np.inf}}, "step_s is inf|step_s"),
    ],
)
def test_bad_evaluations_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        replace(WATCHED, **change)
