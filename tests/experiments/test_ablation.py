"""What an ablation varies, and how its results are kept and shown."""

from dataclasses import asdict, replace

import pandas as pd
import pytest
from result_rows import SED_S, cells, played

from marlserve.envs.load_balance import DEGRADED, MODERATE, PRESETS
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.harness.run import read_experiment
from marlserve.experiments.load_balance import main
from marlserve.experiments.studies.load_balance import ablation, settings
from marlserve.experiments.studies.load_balance.ablation import report
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.experiments.studies.load_balance.variations import FACTORS, STANDARD, variations

pytestmark = pytest.mark.slow

REWARDS = ("excess_slowdown", "latency")


def test_a_variation_changes_one_thing():
    found = variations("degraded", "qmix", None, REWARDS)
    assert list(found) == list(FACTORS)
    shared = [x for f in found.values() for x in f.values() if x.name == STANDARD]
    assert len(shared) == len(FACTORS)
    assert all(x == shared[0] for x in shared)
    assert shared[0].problem == DEGRADED
    assert shared[0].played == replace(DEGRADED, split="test")
    usual = shared[0].experiment("degraded", "qmix", 0, 1_000)
    assert usual == STUDY.experiment("degraded", "qmix", env_steps=1_000)
    for factor, of_factor in found.items():
        name, values = FACTORS[factor]
        assert len(of_factor) == len(REWARDS if factor == "reward" else values)
        for x in (x for x in of_factor.values() if x.name != STANDARD):
            other = asdict(x.experiment("degraded", "qmix", 0, 1_000))
            changed = {k for k, v in asdict(usual).items() if v != other[k]}
            where = "settings" if factor == "gru" else "env_config"
            assert changed == {where, "name" if factor == "gru" else "preset"}
            before = getattr(usual, where)
            assert [k for k, v in other[where].items() if v != before.get(k)] == [name]
            is_met = factor == "balancers"
            assert (x.played != shared[0].played) == is_met
            assert x.reference == ("sed," + x.name if is_met else "sed")


@pytest.mark.parametrize(("algorithm", "factor"), [("ppo", "gru"), ("s_sac", "balancers")])
def test_algorithms_lack_some_factors(algorithm, factor, tmp_path, capsys):
    assert factor not in variations("degraded", algorithm, None, REWARDS)
    words = ["ablate", "--algorithm", algorithm, "--factors", factor, "--out", str(tmp_path)]
    assert main(words) == 2
    assert f"error: factors has {factor!r}; allowed for {algorithm} are" in capsys.readouterr().err


def test_an_ablation_of_small_files(tmp_path):
    learned = {
        STANDARD: {0: 0.9 * SED_S, 1: 0.9 * SED_S},
        "use_gru=True": {0: 0.45 * SED_S},
        "step_s=1.0": {0: 1.08 * SED_S, 1: 1.08 * SED_S},
        "num_balancers=4": {0: 1.2 * SED_S, 1: 1.2 * SED_S},
    }
    heuristics = {"sed": {None: SED_S}, "sed,num_balancers=4": {None: 1.5 * SED_S}}
    rows = pd.concat([played(*x) for x in (learned | heuristics).items()])
    rows = rows[(rows["policy"] != "step_s=1.0") | (rows["episode_seed"] == 1)]
    rows.to_csv(tmp_path / "results.csv", index=False)
    found = variations("degraded", "qmix", None, REWARDS)
    assert [x.stem for x in report(tmp_path, found, "qmix on degraded")] == [
        f"ablation_{factor}" for factor in ("gru", "step", "balancers")
    ]
    text = (tmp_path / "table.md").read_text()
    gru, step, balancers = (cells(text, x) for x in ("gru", "step", "balancers"))
    usual = gru["**False** (standard)"]
    assert usual["mean latency, %"] == "-10.0 [-10.0, -10.0] vs sed"
    assert (usual["vs standard, %"], usual["training seeds"]) == ("-", "2")
    assert gru["True"]["vs standard, %"] == "-50.0 [-50.0, -50.0]"
    assert gru["True"]["training seeds"] == "1"
    assert "training seeds" not in step["1.0"]  # all have two
    assert step["1.0"]["vs standard, %"] == "+20.0 [+20.0, +20.0]"
    assert step["1.0"]["mean ms"] == "64.8 [64.8, 64.8]"  # of the episode that all have
    assert balancers["4"]["mean latency, %"] == "-20.0 [-20.0, -20.0] vs sed,num_balancers=4"
    assert balancers["4"]["vs standard, %"] == "-"
    assert "1 or 2 held-out episodes, over 1 or 2 training seeds" in text


def test_every_budget_of_an_ablation_has_its_folders(tmp_path, monkeypatch):
    asked = []

    def train_all(experiments, out, jobs):
        asked.append((len(experiments), {x.env_steps for x in experiments}, out))
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "train_all", train_all)
    for words in ([], ["--env-steps", "64", "--seeds", "5"]):
        assert main(["ablate", "--factors", "gru", "--out", str(tmp_path), *words]) == 130
    runs = tmp_path / "ablation"
    assert asked == [
        (6, {100_000}, runs / "env_steps=100000"),  # two variations, three seeds
        (2, {64}, runs / "env_steps=64"),
    ]


@pytest.fixture
def quick(monkeypatch):
    """Trainings of two iterations, episodes of two seconds, and two numbers of balancers."""
    training = {"learning_starts": 32, "train_batch_size_per_learner": 4, "sequence_length": 4}
    runners = {"num_envs_per_env_runner": 4, "rollout_fragment_length": 8}
    monkeypatch.setattr(settings, "TRAINING", {"vdn": {"moderate": training}})
    monkeypatch.setattr(settings, "ENV_RUNNERS", {"vdn": runners})
    monkeypatch.setitem(FACTORS, "balancers", ("num_balancers", (1, 2)))
    monkeypatch.setitem(PRESETS, "moderate", replace(MODERATE, episode_s=2.0))


def test_an_ablation_trains_plays_and_draws(ray_session, quick, tmp_path, capsys):
    words = ["ablate", "--preset", "moderate", "--algorithm", "vdn", "--env-steps", "64"]
    words += ["--seeds", "0", "--episodes", "2", "--out", str(tmp_path)]
    words += ["--factors", "balancers", "reward", "--rewards", "excess_slowdown"]
    assert main(words) == 0
    runs = sorted(tmp_path.rglob("experiment.json"))
    trained = {read_experiment(x.parent)["env_config"]["num_balancers"]: x.parent for x in runs}
    below = tmp_path / "ablation" / "env_steps=64" / "load_balance"
    assert trained == {
        1: below / "moderate,num_balancers=1" / "vdn" / "seed_0",
        2: below / "moderate" / "vdn" / "seed_0",
    }
    folder = tmp_path / "load_balance" / "moderate" / "ablation" / "vdn,env_steps=64"
    results = read_results(folder / "results.csv")
    names = {"standard", "sed", "num_balancers=1", "sed,num_balancers=1"}
    assert set(results["policy"]) == names
    text = (folder / "table.md").read_text()
    shown = cells(text, "balancers")
    assert list(shown) == ["1", "**2** (standard)"]
    assert shown["1"]["mean latency, %"].endswith("] vs sed,num_balancers=1")
    assert shown["1"]["vs standard, %"] == "-"  # other traffic
    means = results.groupby("policy")["mean_latency_s"].mean()
    share = 100 * (means["standard"] / means["sed"] - 1)
    assert shown["**2** (standard)"]["mean latency, %"].startswith(f"{share:+,.1f} [")
    assert "## reward" not in text  # nothing but the standard one
    picture = folder / "plots" / "ablation_balancers.png"
    assert [*folder.glob("plots/*")] == [picture]
