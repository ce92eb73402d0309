"""The overview of the load balancers from files whose numbers a hand computes."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from result_rows import SED_S, cells, played, rows_of

from marlserve.envs.load_balance import BASELINES, MODERATE
from marlserve.experiments.load_balance import main
from marlserve.experiments.reports.table import ratios
from marlserve.experiments.studies import compare
from marlserve.experiments.studies.load_balance import settings
from marlserve.experiments.studies.load_balance.overview import order, read_all
from marlserve.experiments.studies.load_balance.paper import COMPLETION_MS
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.experiments.studies.load_balance.tables import percent, write_overview

FACTOR = {"global_sed": 0.8, "lsq": 1.25, "wcmp": 2.0, "random": 10.0}  # of sed's


def leave(out, preset, load, learned):
    """What `compare` leaves of one load."""
    rows = [
        played(name, {None: SED_S * FACTOR.get(name, 5.0)}, rejected=25.0 * (name == "random"))
        for name in BASELINES
        if name != "sed"
    ]
    rows.append(played("sed", {None: SED_S}))
    for name, values in learned.items():
        rows.append(played(name, values, system="one balancer" if name == "s_sac" else ""))
    folder = out / "load_balance" / f"{preset},load={load}-{load}"
    folder.mkdir(parents=True)
    pd.concat(rows).to_csv(folder / "results.csv", index=False)


def leave_run(out, policy, seed, env_steps, cpu_seconds):
    folder = out / "load_balance" / "moderate" / policy / f"seed_{seed}"
    folder.mkdir(parents=True)
    lines = [
        f'{{"env_steps": {n}, "seconds": {2 * s}, "cpu_seconds": {s}}}\n'
        for n, s in ((8, 1.0), (env_steps, cpu_seconds))
    ]
    (folder / "progress.jsonl").write_text("".join(lines))


@pytest.fixture
def out(tmp_path):
    """Two learners at both loads of one preset, one of them at one load of another."""
    qmix, s_sac = {0: 0.8 * SED_S, 1: SED_S}, {0: 0.88 * SED_S}
    leave(tmp_path, "moderate", 0.8, {"qmix": qmix, "s_sac": s_sac})
    leave(tmp_path, "moderate", 0.95, {"qmix": {0: 1.5 * SED_S}, "s_sac": s_sac})
    leave(tmp_path, "large", 0.95, {"qmix": {0: 1.1 * SED_S}})
    leave_run(tmp_path, "qmix", 0, 1000, 10.0)
    leave_run(tmp_path, "qmix", 1, 1000, 14.0)
    return tmp_path


def test_ratios_are_of_pairs():
    noise = np.random.default_rng(0).uniform(1.0, 9.0, size=30)
    values = {"sed": {None: noise}, "slow": {None: 1.5 * noise}}
    values["learned"] = {0: 0.8 * noise, 1: noise}
    rows = pd.concat([rows_of(*x) for x in values.items()])
    result = ratios(rows, "m", [("slow", "sed"), ("learned", "sed")])
    assert result["reference"].tolist() == ["sed", "sed"]
    slow, learned = result[["ratio", "ratio_low", "ratio_high"]].to_numpy(float)
    np.testing.assert_allclose(slow, 1.5)
    np.testing.assert_allclose(learned, [0.9, 0.8, 1.0])  # two seeds: their range
    with pytest.raises(ValueError, match=r"\['lsq'\] are not among"):
        ratios(rows, "m", [("slow", "lsq")])


def test_percent_has_no_minus_zero():
    assert percent(0.96, 0.9494, 0.99996) == "-4.0 [-5.1, +0.0]"
    assert percent(21.0, 20.0, 22.5) == "+2,000.0 [+1,900.0, +2,150.0]"


def test_the_overview_of_small_files(out):
    text = write_overview(out).read_text()
    lower, higher = (cells(text, f"At the {end} load") for end in ("lower", "higher"))
    assert list(lower)[:3] == ["qmix", "s_sac", "sed"]
    oracles = [name for name in lower if name.endswith("(oracle)")]
    assert list(lower)[-len(oracles) :] == oracles
    assert oracles[:2] == ["global_sed (oracle)", "join_shortest_queue (oracle)"]
    assert lower["sed"]["moderate, load 0.8"].startswith("40 [")
    assert lower["sed"]["moderate, load 0.8"].endswith("] / 400 / 0.750 / 0.0 %")
    assert lower["random"]["moderate, load 0.8"].endswith("] / 4,000 / 0.750 / 25.0 %")
    assert set(lower["sed"]) == {"policy", "moderate, load 0.8"}
    assert lower["qmix"]["moderate, load 0.8"].startswith("36 [")
    assert higher["qmix"]["large, load 0.95"].startswith("44 [")
    assert higher["s_sac"]["large, load 0.95"] == "-"
    assert "1 or 2 training seeds and 2 held-out episodes" in text
    against = cells(text, "Against sed")
    assert "sed" not in against
    assert against["qmix"]["moderate, load 0.8"].startswith("-10.0 [")
    assert against["qmix"]["moderate, load 0.95"] == "+50.0 [+50.0, +50.0]"
    assert against["qmix"]["large, load 0.95"] == "+10.0 [+10.0, +10.0]"
    assert against["s_sac"]["moderate, load 0.8"] == "+10.0 [+10.0, +10.0]"  # of global_sed
    assert against["global_sed (oracle)"]["moderate, load 0.8"] == "-20.0 [-20.0, -20.0]"
    picture = out / "load_balance" / "plots" / "overview.png"
    assert picture.exists()


def test_costs_and_the_papers_ratios(out):
    text = write_overview(out).read_text()
    assert cells(text, "Cost of training") == {
        "qmix": {"policy": "qmix", "moderate": "1,000 / 12 s"}
    }
    costs = pd.read_csv(out / "load_balance" / "training_cost.csv")
    assert costs.to_dict("records") == [
        {
            "preset": "moderate",
            "policy": "qmix",
            "training_seeds": 2,
            "env_steps": 1000.0,
            "cpu_seconds": 12.0,
            "seconds": 24.0,
        }
    ]
    (part,) = (x for x in text.split("\n## ") if x.startswith("Beside the paper"))
    # 63.4 / 67.2, 63.4 / 78.7, 63.4 / 92.6, 63.4 / 529.4
    assert "| moderate | paper, 518.8/s | 0.94 | 0.81 | 0.68 | 0.12 |" in part
    assert "| large | paper, 419.3/s | 1.02 | 1.00 | 0.41 | 0.05 |" in part
    assert re.search(r"\| moderate \| here, load 0.8 \| 0.90 \[.*\] \| 0.72 \[.*\] \|", part)
    assert "| large | here, load 0.95 | 1.10 [1.10, 1.10] | 0.88 [0.88, 0.88] |" in part
    assert "ours is feed-forward" in part
    training = settings.TRAINING["qmix"]
    assert not any(training[preset]["use_gru"] for preset in COMPLETION_MS)
    assert part.count("| here, load") == 3
    assert "doi:10.1145/3511808.3557133" in part


def test_without_results_there_is_no_overview(tmp_path):
    assert write_overview(tmp_path) is None
    folder = tmp_path / "load_balance" / "moderate,load=0.8-0.8"
    folder.mkdir(parents=True)
    played("sed", {None: SED_S}).to_csv(folder / "results.csv", index=False)
    assert read_all(tmp_path) == {}  # other heuristics have not been played
    assert not list(tmp_path.rglob("overview*"))


def test_policies_are_ordered_by_mean_rank(out):
    # s_sac is second twice, better than qmix, but plays another system. qmix is third at 0.8, and
    # fifth at 0.95; vdn, where it plays, is behind it.
    leave(out, "quad", 0.8, {"qmix": {0: SED_S}, "vdn": {0: 1.1 * SED_S}})
    assert order(read_all(out))[:6] == ["qmix", "vdn", "s_sac", "sed", "lsq", "wcmp"]


@pytest.mark.parametrize(
    ("policy", "seed", "few"), [("qmix", 1, "{'qmix': 1}"), ("sed", None, "{'sed': 1}")]
)
def test_unequal_episodes_are_refused(policy, seed, few, out):
    file = out / "load_balance" / "moderate,load=0.8-0.8" / "results.csv"
    rows = pd.read_csv(file)
    of_seed = rows["training_seed"].isna() if seed is None else rows["training_seed"] == seed
    gone = (rows["policy"] == policy) & of_seed & (rows["episode_seed"] == 0)
    assert gone.sum() == 1
    rows[~gone].to_csv(file, index=False)
    message = f"{file} has 2 episodes of some policies, and not the same ones .* have {few}:"
    with pytest.raises(ValueError, match=message):
        write_overview(out)
    assert not (out / "load_balance" / "overview.md").exists()


def test_captions_count_the_episodes_that_were_used(out):
    file = out / "load_balance" / "large,load=0.95-0.95" / "results.csv"
    rows = pd.read_csv(file)
    rows.loc[(rows["policy"] == "qmix") & (rows["episode_seed"] == 0), "mean_latency_s"] = np.nan
    rows.to_csv(file, index=False)
    lower, higher = write_overview(out).read_text().split("## At the higher load")
    assert "2 held-out episodes" in lower
    assert "1 or 2 held-out episodes" in higher


@pytest.mark.parametrize(
    ("flags", "loads"),
    [("", [(0.8, 0.8), (0.95, 0.95)]), ("--load 0.5 0.6", [(0.5, 0.6)])],
)
def test_compare_plays_at_both_loads_or_over_a_range(flags, loads, tmp_path, monkeypatch):
    asked, met = [], []
    monkeypatch.setattr(STUDY, "contestants", lambda problem, *_: met.append(problem))
    monkeypatch.setattr(compare, "report", lambda *_: tmp_path)
    monkeypatch.setattr(STUDY, "draw", lambda *_: [])
    monkeypatch.setattr(
        compare, "train_all", lambda experiments, *_, **how: asked.extend(experiments) or []
    )
    words = ["compare", "--presets", "moderate", "--algorithms", "ppo", "--seeds", "0"]
    assert main([*words, *flags.split()]) == 0
    assert met == [replace(MODERATE, split="test", load=load) for load in loads]
    assert [x.env_config["split"] for x in asked] == ["train"]
