"""`compare`, `evaluate` and `plot` on the load balancers, from the command line to the files."""

import json

import numpy as np
import pandas as pd
import pytest

from marlserve.envs.load_balance import BASELINES
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.harness.run import read_progress
from marlserve.experiments.load_balance import main
from marlserve.experiments.studies.load_balance import settings

pytestmark = pytest.mark.slow

FAST = {"num_envs_per_env_runner": 4, "rollout_fragment_length": 8}
LEARNED = ("vdn", "s_sac")


@pytest.fixture
def quick(monkeypatch):
    """Trainings of two iterations."""
    training = {"learning_starts": 32, "train_batch_size_per_learner": 4, "sequence_length": 4}
    monkeypatch.setattr(settings, "ENV_STEPS", 64)
    monkeypatch.setattr(settings, "TRAINING", {name: {"moderate": training} for name in LEARNED})
    monkeypatch.setattr(settings, "ENV_RUNNERS", dict.fromkeys(LEARNED, FAST))


def test_compare_trains_plays_and_draws_what_is_missing(ray_session, quick, tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    arguments = ["compare", "--presets", "moderate", "--episodes", "2", "--episode-s", "2", *out]
    arguments += ["--algorithms", *LEARNED]
    assert main([*arguments, "--seeds", "0"]) == 0
    trained = tmp_path / "load_balance" / "moderate,episode_s=2.0"
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("progress.jsonl")}
    assert {p.parent.parent.name for p in before} == set(LEARNED)
    assert "1 training seed and 2 episodes" in " ".join(capsys.readouterr().out.split())
    assert main([*arguments, "--seeds", "0", "1"]) == 0
    assert capsys.readouterr().out.count("is finished: not trained again") == len(LEARNED)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert not (trained / "results.csv").exists()
    for load in (0.8, 0.95):  # both ends of the preset's
        played = tmp_path / "load_balance" / f"moderate,load={load}-{load},episode_s=2.0"
        results = read_results(played / "results.csv")
        assert set(results["policy"]) == {*LEARNED, *BASELINES}
        sizes = results.groupby(["policy", "training_seed"], dropna=False).size()
        assert sizes.tolist() == [2] * (len(LEARNED) * 2 + len(BASELINES))
        assert "global_sed" in (played / "table.md").read_text()
        assert (played / "plots" / "latency_percentiles.png").exists()
    run, _ = str(trained / "vdn" / "seed_1"), capsys.readouterr()
    flags = ["--load", "0.95", "0.95", "--episodes", "2", "--episode-s", "2", *out]
    assert main(["evaluate", "--policy", run, "sed", *flags]) == 0
    assert "vdn" in capsys.readouterr().out
    pd.testing.assert_frame_equal(read_results(played / "results.csv"), results)


def test_learning_curves_are_drawn_from_the_files(tmp_path, capsys):
    folder = tmp_path / "load_balance" / "moderate"
    for seed in (0, 1, 2):
        run = folder / Experiment("load_balance", "qmix", seed=seed).folder.relative_to(
            "load_balance/default"
        )
        run.mkdir(parents=True)
        lines = [f'{{"env_steps": {n}, "mean_latency_s": {1 / n + seed}}}\n' for n in (8, 16, 24)]
        (run / "progress.jsonl").write_text("".join(lines))
        assert len(read_progress(run)) == 3
    assert main(["plot", "--presets", "moderate", "--out", str(tmp_path)]) == 0
    assert (folder / "plots" / "learning_curves.png").exists()


def test_recordings_of_one_name_are_results_of_their_own(tmp_path):
    names = set()
    for folder, rate in (("one", 50.0), ("other", 60.0)):
        times_s = np.cumsum(np.random.default_rng(0).exponential(1 / rate, 4_000))
        file = tmp_path / folder / "flows.csv"
        file.parent.mkdir()
        lines = [f"{t}\t/dummy.php/?n=3670000\n" for t in times_s]
        file.write_text("time\tquery\n" + "".join(lines))
        flags = ["--trace", "flows", "--trace-path", str(file), "--episode-s", "2"]
        flags += ["--warm-up-s", "2"]
        flags += ["--episodes", "2", "--out", str(tmp_path / "out")]
        assert main(["evaluate", "--policy", "sed", "lsq", *flags]) == 0
        (new,) = set((tmp_path / "out").rglob("results.csv")) - names
        assert len(read_results(new)) == 4
        assert json.loads(new.with_name("played.json").read_text())["config"]["trace_path"] == str(
            file
        )
        names.add(new)
    assert all("trace_path=flows.csv" in file.parent.name for file in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --policy nobody", "policy is 'nobody'; allowed are folders and"),
        ("evaluate --policy {tmp}", "neither a run folder nor a checkpoint"),
        ("evaluate --policy sed --episodes 0", "episodes is 0; it must be at least 1"),
        ("evaluate --policy sed --load 0.9 0.5", "load is (0.9, 0.5); allowed is"),
        ("evaluate --policy sed --trace flows --trace-path none.csv", "none.csv"),
        ("compare --presets moderate --load 0 0", "load is (0.0, 0.0); allowed is"),
        ("compare --presets moderate --split test", "compare trains on 'train'"),
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
