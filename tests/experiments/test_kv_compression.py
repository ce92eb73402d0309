"""The command line of the KV-compression experiments, end to end, on few prompts and arms."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from marlserve.envs.kv_compression import PRESETS, Config, baselines, table
from marlserve.envs.kv_compression.baselines import BANDITS
from marlserve.envs.kv_compression.config import PROMPTS, TUNING_PROMPTS
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.harness.run import RETURN, read_experiment, read_progress
from marlserve.experiments.kv_compression import main
from marlserve.experiments.studies.kv_compression import settings
from marlserve.experiments.studies.kv_compression import tables as making
from marlserve.experiments.studies.kv_compression.learnable import fitted
from marlserve.experiments.studies.kv_compression.study import STUDY
from marlserve.experiments.studies.kv_compression.tables import SPLITS
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.traces import kv_profile

pytestmark = pytest.mark.slow

ARMS = ("h2o", "sigmoid_0.1_16", "window_4")
FEW = ["--num-prompts=24", "--arms", *ARMS, "--episodes-per-update=8", "--eval-frequency=2"]
TINY = [x for x in FEW if not x.startswith(("--episodes", "--eval"))]
CONFIG = Config(num_prompts=24, arms=ARMS, prompt_seed=PROMPTS)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> str:
    """A table of both splits."""
    folder = tmp_path_factory.mktemp("tables") / "few"
    making.make(CONFIG, folder)
    return str(folder)


def run_of(out: Path, algorithm: str = "neural_linear") -> Path:
    (found,) = out.glob(f"kv_compression/*/{algorithm}*/seed_0")
    return found


def trained(out: Path, tables: str, *more: str) -> int:
    return main(["train", *FEW, f"--table-path={tables}", "--out", str(out), *more])


def test_a_stopped_run_takes_the_course_of_an_unbroken_one(
    ray_session, tables, tmp_path, monkeypatch
):
    assert trained(tmp_path / "unbroken", tables, "--iterations=6") == 0
    unbroken = run_of(tmp_path / "unbroken")
    from marlserve.experiments.harness import training

    usual, iterations = training._row, []

    def interrupted(*arguments):
        iterations.append(1)
        if len(iterations) == 3:
            signal.raise_signal(signal.SIGINT)
        return usual(*arguments)

    monkeypatch.setattr(training, "_row", interrupted)
    assert trained(tmp_path / "broken", tables, "--iterations=6") == 130
    broken = run_of(tmp_path / "broken")
    assert read_progress(broken)["env_steps"].tolist() == [8, 16, 24]
    assert main(["train", "--resume", str(broken)]) == 0
    there, here = read_progress(unbroken), read_progress(broken)
    same = [name for name in there if name not in ("seconds", "cpu_seconds")]
    for name in same:
        assert_array_equal(here[name], there[name], err_msg=name)
    assert RETURN in same
    assert "regret" in same
    seen = {"compressor": np.random.default_rng(0).normal(size=(50, 55)).astype(np.float32)}
    chosen = [CheckpointPolicy(run, "final")(seen)["compressor"] for run in (unbroken, broken)]
    assert_array_equal(*chosen)
    lines = (broken / "evaluation.jsonl").read_text().splitlines()
    assert [json.loads(line)["env_steps"] for line in lines] == [16, 32, 48]
    assert all("regret" in json.loads(line) for line in lines)


def test_flags_reach_the_algorithm(ray_session, tables, tmp_path):
    given = ["--iterations=1", "--lr=0.01", "--ucb-beta=0.5", "--uncertainty-coef=0.1"]
    assert trained(tmp_path, tables, *given, "--save-dir", str(tmp_path / "saved")) == 0
    found = read_experiment(run_of(tmp_path / "saved"))["settings"]
    wanted = {"lr": 0.01, "ucb_beta": 0.5, "uncertainty_coef": 0.1, "episodes_per_update": 8}
    assert {name: found[name] for name in wanted} == wanted


def test_compare_evaluate_and_plot(ray_session, tables, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("marlserve.envs.kv_compression.baselines.ROUNDS", 30)
    given = [*TINY, f"--table-path={tables}", "--out", str(tmp_path)]
    algorithms = ["--algorithms", "neural_linear", "neural_ucb", "--seeds", "0", "1"]
    assert main(["compare", *given, *algorithms, "--iterations=2", "--episodes=40"]) == 0
    (folder,) = (x for x in (tmp_path / "kv_compression").iterdir() if x.name != "tables")
    results = read_results(folder / "results.csv")
    learned = {"neural_linear", "neural_ucb", *BANDITS}
    assert {*ARMS, *learned, "random", "best_fixed", "best_per_type", "oracle"} == set(
        results["policy"]
    )
    seeds = results[results["training_seed"].notna()].groupby("policy")["training_seed"].nunique()
    assert seeds.to_dict() == dict.fromkeys(learned, 2)
    oracle = results[results["policy"] == "oracle"]
    assert (oracle["regret"] == 0).all()
    assert "agreement" in (folder / "table.md").read_text()
    assert "random" in (folder / "regret.md").read_text()
    drawn = {"learning_curves", "regret", "comparison", "reward_by_type", "arms_by_type"}
    assert {path.stem for path in (folder / "plots").iterdir()} == drawn
    capsys.readouterr()
    evaluated = ["evaluate", *given, "--models-dir", str(folder), "--policy", "oracle"]
    assert main([*evaluated, "--episodes=40"]) == 0
    assert "neural_linear" in capsys.readouterr().out
    assert main(["plot", *given]) == 0


def test_without_a_table_the_model_is_asked(ray_session, tables, tmp_path, capsys):
    given = [*TINY, "--table-path=", "--out", str(tmp_path)]
    few = ["--iterations=1", "--episodes-per-update=4", "--eval-frequency=0"]
    assert main(["train", *given, *few]) == 0
    (folder,) = (tmp_path / "kv_compression").iterdir()
    assert ",table_path=," in folder.name
    played = ["--policy", "all", "--n-eval-episodes=3", "--models-dir", str(folder)]
    assert main(["evaluate", *given, *played]) == 0
    results = read_results(folder / "results.csv")
    assert set(results["policy"]) == {
        *ARMS,
        "random",
        "oracle",
        "neural_linear,episodes_per_update=4",
    }
    assert "regret" not in results
    assert main(["plot", *given]) == 0
    # By prompts that are looked up, it has other results, in another folder.
    run = str(next(folder.glob("neural_linear*/seed_0")))
    tabled = [*TINY, f"--table-path={tables}", "--out", str(tmp_path)]
    assert main(["evaluate", *tabled, "--policy", "h2o", run, "--n-eval-episodes=3"]) == 0
    capsys.readouterr()
    assert main(["evaluate", *tabled, "--tagged", "True", "--policy", run]) == 2
    assert "was trained with tagged=False" in capsys.readouterr().err


def test_tables_are_made_side_by_side_and_only_once(tmp_path, tables, capsys):
    folder = tmp_path / "table"
    given = [*TINY, f"--table-path={folder}", "--out", str(tmp_path)]
    assert main(["make-table", *given, "--devices", "cpu", "cpu"]) == 0
    assert str(folder) in capsys.readouterr().out
    for split in ("train", "test"):
        with (
            np.load(f"{folder}/{split}-000000.npz") as made,
            np.load(f"{tables}/{split}-000000.npz") as there,
        ):
            assert made.files == there.files
            for name in made.files:
                assert_array_equal(made[name], there[name])
    assert {path.name.split("-")[0] for path in folder.glob("*.npz")} == set(SPLITS)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["make-table", *given]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert table.missing(folder, CONFIG) == []


def test_tables_are_named_by_what_they_depend_on(tmp_path):
    folder = settings.table_folder(tmp_path, CONFIG)
    assert folder.parent == tmp_path / "kv_compression" / "tables"
    assert "num_prompts=24" in folder.name
    other = replace(CONFIG, reward="cosine", context=("hidden",), split="test")
    assert settings.table_folder(tmp_path, other) == folder
    other = replace(CONFIG, budgets=(32,))
    assert settings.table_folder(tmp_path, other) != folder


def test_presets_with_some_of_the_arms_share_a_table(tmp_path):
    whole = settings.table_folder(tmp_path, PRESETS["smollm2"])
    assert whole.name == "smollm2"
    for name in ("smollm2_5", "smollm2_10", "smollm2_25"):
        assert settings.table_folder(tmp_path, PRESETS[name]) == whole
        assert settings.whole_table(PRESETS[name]) == PRESETS["smollm2"]
    assert settings.whole_table(CONFIG) == CONFIG
    few = replace(PRESETS["tagged"], arms=("h2o", "sigmoid_0.1_16"), num_prompts=50)
    assert settings.whole_table(few) == replace(PRESETS["tagged"], num_prompts=50)


def test_what_is_tuned_never_meets_what_is_compared():
    for preset in ("tagged", "untagged"):
        compared = STUDY.presets[preset]
        tried = STUDY.tuned_on(compared)
        assert tried == replace(compared, prompt_seed=TUNING_PROMPTS) != compared


def test_prompts_and_a_profile_are_made(tmp_path, capsys):
    file, folder = tmp_path / "prompts.jsonl", tmp_path / "profile"
    assert main(["make-prompts", "--to", str(file)]) == 0
    assert "samples" in capsys.readouterr().out
    assert main(["make-prompts", "--to", str(file)]) == 2
    given = ["make-profile", "--num-prompts=2", "--to", str(folder)]
    assert main([*given, "--watts=6000"]) == 2
    assert "watts is 6000.0; allowed is 1 to 5000" in capsys.readouterr().err
    assert main([*given, "--watts=60"]) == 0
    assert "joules by 60 W, as told" in capsys.readouterr().out
    assert kv_profile.load(path=folder).num_prompts == 2


def test_policies_are_estimated_from_logs_of_another(tables, capsys):
    given = ["off-policy", *TINY, f"--table-path={tables}", "--pulls=2000", "--logs=3"]
    assert main(given) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    rows = [line.split("|")[1:-1] for line in first.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == ["random", "best_fixed", *BANDITS, "best_per_type"]
    for row in rows:
        for estimate in row[2:5]:  # of 2,000 pulls, most of them random
            assert float(estimate.split("[")[0]) == pytest.approx(float(row[1]), abs=0.1)
    assert len(second.splitlines()) == 5


def test_what_is_told_everything_learns_what_there_is(tables, capsys):
    given = ["learnable", *TINY, f"--table-path={tables}", "--contexts", "length", "repetition"]
    assert main(given) == 0
    names = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[2:]]
    assert names == ["best fixed arm", "length", "repetition", "oracle"]


def test_the_numbers_of_bandits_are_searched(tables, capsys):
    given = ["tune", "--presets=untagged", *TINY, f"--table-path={tables}", "--trials=2"]
    assert main([*given, "--show=1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in out if "earned" in line] == [["as", "shipped"]] * 3
    shipped = [float(x) for line in out if "*" in line for x in line.split()[:2]]
    numbers = baselines.tuned(CONFIG)
    assert shipped == [x for bandit in BANDITS for x in numbers[bandit].values()]
    assert main([*given[:-1], "--trials=0"]) == 2
    assert "trials is 0; it must be at least 1" in capsys.readouterr().err


def test_a_ridge_finds_the_arm_that_a_context_tells():
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(200, 3))
    rewards = rng.normal(size=(200, 1)) + np.outer(seen[:, 1], [1.0, -1.0, 0.0])
    chosen = fitted(seen[:100], rewards[:100], 1.0, seen[100:])
    sure = np.abs(seen[100:, 1]) > 0.1
    np.testing.assert_array_equal(chosen[sure], np.where(seen[100:, 1] > 0, 0, 1)[sure])
    # So heavy a ridge that nothing is learned but the level.
    assert (fitted(seen, rewards, 1e12, seen) == rewards.mean(0).argmax()).all()


def test_a_model_is_made_and_kept(tmp_path, capsys):
    folder = tmp_path / "model"
    assert main(["make-model", "--steps=1", "--to", str(folder)]) == 0
    assert (folder / "model.safetensors").exists()
    assert main(["make-model", "--steps=1", "--to", str(folder)]) == 2
    assert "holds a model already" in capsys.readouterr().err


def test_mistakes_are_named(tables, tmp_path, capsys):
    given = [*TINY, "--out", str(tmp_path)]

    def refused(words, message):
        assert main(words) == 2
        assert message in capsys.readouterr().err

    refused(["train", *given, "--table-path", str(tmp_path)], "holds no table")
    refused(["train", *given, f"--table-path={tables}", "--recent=2"], "recent is 4 there, 2 is")
    refused(["compare", *given, "--split=test"], "compare trains on 'train'")
    refused(["compare", *given, "--table-path="], "need a table")
    refused(["make-table", *given, "--table-path="], "name a folder for the table")
    refused(["train", *given, f"--model-name={tmp_path}/none"], "none' cannot be loaded")
    refused(["plot", *given], "train or evaluate first")
    refused(["train", "--resume", str(tmp_path)], "is not a run")
