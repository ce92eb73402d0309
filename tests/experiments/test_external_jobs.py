"""Jobs by the client: it is told what in-process training is, played beside that, and done once."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from marlserve.experiments import external
from marlserve.experiments.harness.evaluate import evaluate
from marlserve.experiments.harness.results import RUN
from marlserve.experiments.studies.job_scheduling.settings import ENV_RUNNERS
from marlserve.experiments.studies.job_scheduling.study import STUDY
from marlserve.experiments.testbed.external import jobs, processes
from marlserve.serving.client.rl4sys import client_settings
from marlserve.serving.trainer.learner import configured
from marlserve.serving.wire.program import read

_OF_THE_POLICY = ["policy", "training_seed", RUN]


def test_the_trainer_is_told_what_training_in_process_is(tmp_path):
    program = read(processes.program_file(tmp_path, jobs.told(3, 300_000)))
    config = configured(program, {"address": "", "secret": ""})
    experiment = STUDY.experiment("lublin", "ppo_backfill", seed=3)
    assert (config.seed, program.algorithm_name) == (3, experiment.algorithm)
    assert experiment.env_steps == 300_000
    for name, value in experiment.settings.items():
        assert getattr(config, name) == value, name
    copies, steps = ENV_RUNNERS.values()
    assert config.train_batch_size_per_learner == copies * steps
    assert client_settings(program).most_steps == steps


def test_what_a_trainer_saved_is_played_as_what_was_trained_in_process(tmp_path):
    """The same network in both places gets the same of every episode."""
    file, *_ = jobs.published_files()
    problem = replace(STUDY.presets["lublin"], split="test")
    shutil.copytree(file, tmp_path / "run/policies/versions/12")
    (tmp_path / "run/policies/versions/7").mkdir()  # an older one, which nobody reads
    (there,) = STUDY.contestants(problem, [file])
    own = jobs.contestant(tmp_path, 4, problem)
    assert (own.name, own.training_seed) == ("ppo_backfill_by_client", 4)
    assert own.config == there.config
    both = [evaluate(x, STUDY.problem, 3) for x in (own, there)]
    pd.testing.assert_frame_equal(*(rows.drop(columns=_OF_THE_POLICY) for rows in both))


def test_a_bad_number_or_rule_is_an_error_before_the_work(tmp_path, capsys):
    for words, said in (
        (["--episodes", "0"], "episodes is 0; it must be at least 1"),
        (["--rules", "guess"], "policy is 'guess'; allowed are folders and"),
    ):
        assert external.main(["jobs", *words, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_is_learned_played_and_told_once(tmp_path, capsys):
    words = ["jobs", "--seeds", "3", "--most-steps", "500", "--episodes", "2"]
    words += ["--rules", "area_backfill", "--out", str(tmp_path)]
    for _ in range(2):
        assert external.main(words) == 0
    first, second = capsys.readouterr().out.split("| rank")[1:]
    assert first.split("\nplayed")[0].strip() == second.strip()
    (row,) = processes.read(tmp_path / "programs.csv")
    assert (row["seed"], row["steps"], row["lost_steps"]) == (3, 512, 0)
    table = (tmp_path / "table.md").read_text()
    for name in ("ppo_backfill_by_client", "ppo_backfill", "area_backfill"):
        assert f" {name} | " in table
