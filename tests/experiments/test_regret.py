"""Cumulative regret: its sums, its file, its table and its plot."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from marlserve.experiments.reports import regret
from marlserve.experiments.reports import regret_plot as plot_regret
from marlserve.experiments.reports.regret_plot import cumulative_regret


def run_of(folder: Path, rows: list[dict], name: str = "bandit", seed: int = 0) -> Path:
    """The folder of a run with these rows of progress."""
    run = folder / name / f"seed_{seed}"
    run.mkdir(parents=True)
    (run / "experiment.json").write_text(json.dumps({"name": name, "seed": seed}))
    (run / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def line(slope: float, pulls: int = 50) -> pd.DataFrame:
    return regret.curve(np.full(pulls, slope))


CURVES = {
    ("good", 0): line(1.0),
    ("good", 1): line(2.0),
    ("bad", 0): line(3.0),
    ("bad", 1): line(4.0, pulls=40),
    ("bad", 2): line(99.0),
}


@pytest.fixture
def file(tmp_path) -> Path:
    regret.merge(tmp_path / "regret.csv", CURVES)
    return tmp_path / "regret.csv"


def test_regret_is_summed_over_rounds():
    points = regret.curve([0.5, 0.0, 2.0])
    assert points.to_numpy().tolist() == [[0, 0], [1, 0.5], [2, 0.5], [3, 2.5]]


def test_the_rows_of_a_run_are_means_over_their_rounds(tmp_path):
    rows = [{"env_steps": n, "regret": x} for n, x in ((20, 0.5), (40, 0.25), (50, 0.1))]
    run = run_of(tmp_path, rows, "bandit", 3)
    expected = pd.DataFrame({"pulls": [0, 20, 40, 50], "regret": [0.0, 10.0, 15.0, 16.0]})
    pd.testing.assert_frame_equal(regret.cumulative(run), expected)
    ((key, points),) = regret.of_runs([run]).items()
    assert key == ("bandit", 3)
    pd.testing.assert_frame_equal(points, expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no progress yet"),
        ([{"env_steps": 20}], "rows of progress without a regret"),
        ([{"env_steps": 20, "regret": 1.0}, {"env_steps": 40, "regret": None}], "without a regret"),
    ],
)
def test_runs_without_regret_are_errors(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        regret.cumulative(run_of(tmp_path, rows))


def test_regret_is_of_some_rounds_and_finite():
    with pytest.raises(ValueError, match="there is no round"):
        regret.curve([])
    with pytest.raises(ValueError, match="regret is nan; allowed is finite"):
        regret.curve([1.0, np.nan])


def test_the_file_has_few_points_and_the_ends(tmp_path):
    regrets = np.random.default_rng(0).random(10_000)
    rows = regret.merge(tmp_path / "new" / "regret.csv", {("a", 0): regret.curve(regrets)})
    assert rows.columns.tolist() == ["policy", "seed", "pulls", "regret"]
    assert len(rows) == 100
    assert rows["pulls"].iloc[[0, -1]].tolist() == [0, 10_000]
    sums = np.append(0.0, np.cumsum(regrets))
    np.testing.assert_allclose(rows["regret"], sums[rows["pulls"]])
    read = regret.read(tmp_path / "new" / "regret.csv")
    pd.testing.assert_frame_equal(read, rows, rtol=1e-6)


def test_a_curve_takes_the_place_of_the_earlier_one(file):
    before = regret.by_seed(regret.read(file))
    after = regret.by_seed(regret.merge(file, {("good", 1): line(5.0), ("new", 0): line(6.0)}))
    assert list(after) == ["bad", "good", "new"]
    assert after["good"][1]["regret"].max() == 250
    for policy, seed in (("good", 0), ("bad", 0), ("bad", 2)):
        np.testing.assert_array_equal(after[policy][seed], before[policy][seed])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no .*compare policies first"),
        ("", "is broken"),
        ("policy,seed,pulls\na,0,0\n", "has no column 'regret'"),
        ("policy,seed,pulls,regret\n", "has no rows"),
    ],
)
def test_what_is_no_file_of_curves_is_an_error(text, message, tmp_path):
    if text is not None:
        (tmp_path / "regret.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        regret.read(tmp_path / "regret.csv")


def test_the_table_compares_common_seeds_at_the_shortest_end(file):
    result, pulls = regret.final(regret.read(file), "bad")
    assert pulls == 40
    good, bad = (result[result["policy"] == name].iloc[0] for name in ("good", "bad"))
    for row, mean in ((good, 60), (bad, 140)):  # two seeds, which are 40 apart: a range
        found = row[["regret", "regret_low", "regret_high"]].astype(float)
        np.testing.assert_allclose(found, [mean, mean - 20, mean + 20])
    # Seed by seed, the difference is always the same.
    differences = good[["difference", "difference_low", "difference_high"]].astype(float)
    np.testing.assert_allclose(differences, -80.0)
    assert result["policy"].tolist() == ["good", "bad"]
    assert result["rank"].tolist() == [1, 2]


def test_the_table_is_printed_and_given_as_markdown(file, capsys):
    text = regret.show(regret.read(file), "toy", "bad")
    printed = " ".join(capsys.readouterr().out.split())
    assert text.startswith("toy: regret after 40 pulls")
    assert "vs bad: paired difference" in text
    for part in ("toy: regret after 40 pulls", "good", "bad", "over 2 seeds"):
        assert part in printed


def test_policies_without_a_common_seed_are_not_compared(tmp_path):
    rows = regret.merge(tmp_path / "regret.csv", {("a", 0): line(1.0), ("b", 1): line(1.0)})
    with pytest.raises(ValueError, match=r"no seed in common: \{'a': \[0\], 'b': \[1\]\}"):
        regret.final(rows)


def test_curves_are_drawn_in_the_order_of_their_ends(file, monkeypatch):
    figures, save = [], plot_regret.save
    monkeypatch.setattr(plot_regret, "save", lambda *args: figures.append(args[0]) or save(*args))
    (file.parent / "good" / "seed_0").mkdir(parents=True)
    picture = cumulative_regret(file.parent)
    assert picture == file.parent / "plots" / "regret.png"
    assert picture.exists()
    (axes,) = figures[0].axes
    bad, good = axes.get_lines()
    assert [bad.get_label(), good.get_label()] == ["bad (3 seeds)", "good (2 seeds)"]
    assert [bad.get_linestyle(), good.get_linestyle()] == ["--", "-"]  # only good was trained
    assert good.get_xdata()[[0, -1]].tolist() == [0, 50]
    assert good.get_ydata()[[0, -1]].tolist() == [0, 75]
    low, high = axes.collections[1].get_datalim(axes.transData).intervaly
    assert (low, high) == (pytest.approx(0.0), pytest.approx(100.0))  # from 0 to the higher seed
