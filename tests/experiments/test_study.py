"""What experiments share: shares of a gap, names of policies, summaries, and plots."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from result_rows import LIMIT_BYTES, row, rows_of
from toy_problem import Drift, DriftConfig

from marlserve.envs.load_balance import MODERATE
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.reports import plot, table
from marlserve.experiments.reports.pareto import _within_episodes, front, pareto, place_labels
from marlserve.experiments.reports.summary import write_summary
from marlserve.experiments.reports.timeline import ACTION, _binned, record, timeline
from marlserve.experiments.studies import runs
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.experiments.studies.schedule import falling, in_steps

NOISE = np.random.default_rng(0).normal(size=40)
GAP = pd.concat(
    [
        rows_of("floor", {None: NOISE}),
        rows_of("half", {None: NOISE + 1.0}),
        rows_of("told", {None: NOISE + 2.0}, oracle=True),
        rows_of("worse", {0: NOISE - 1.0, 1: NOISE - 2.0}),
    ],
    ignore_index=True,
)


def test_the_share_of_a_gap_is_that_of_pairs():
    result = table.table(GAP, ["m"], larger_is_better=True, gap=("floor", "told"))
    columns = ["gap_closed", "gap_closed_low", "gap_closed_high"]
    assert row(result, "half")["m_low"] < 0.9 < row(result, "half")["m_high"]
    for policy, expected in (("floor", 0.0), ("half", 0.5), ("told", 1.0)):
        np.testing.assert_allclose(row(result, policy)[columns].astype(float), expected, atol=1e-9)
    low, high = row(result, "worse")[columns[1:]]  # over two training seeds
    assert (low, high) == (pytest.approx(-1.0), pytest.approx(-0.5))
    text = table.markdown(result, ["m"])
    assert "gap_closed: share of the way from floor to told" in text


def test_the_gap_may_lead_downwards():
    result = table.table(
        GAP.assign(m=-GAP["m"]), ["m"], larger_is_better=False, gap=("floor", "told")
    )
    assert row(result, "half")["gap_closed"] == pytest.approx(0.5)


def test_where_there_is_no_gap_there_is_no_share():
    results = pd.concat([GAP, rows_of("noise", {None: np.roll(NOISE, 1)})])
    result = table.table(results, ["m"], larger_is_better=True, gap=("noise", "floor"))
    assert result["gap_closed"].isna().all()
    with pytest.raises(ValueError, match="'none' is not among"):
        table.table(GAP, ["m"], gap=("floor", "none"))


def test_the_best_of_some_policies():
    assert table.best(GAP, ["floor", "half", "worse"], "m", larger_is_better=True) == "half"
    assert table.best(GAP, ["floor", "half"], "m") == "floor"


def begun(out, *args, **options):
    """The folder of a run that never was."""
    experiment = Experiment(*args, **options)
    folder = out / experiment.folder
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(experiment.to_json())
    return folder


@pytest.fixture
def any_checkpoint(monkeypatch):
    monkeypatch.setattr(runs, "CheckpointPolicy", lambda *_: None)


def keys(contestants):
    return {(x.name, x.training_seed) for x in contestants}


def test_two_runs_of_one_name_are_an_error(tmp_path, any_checkpoint):
    folders = [begun(tmp_path, "load_balance", "qmix", preset=name) for name in ("one", "other")]
    for folder in folders:
        (folder / "checkpoint").mkdir()
    assert runs.runs_below(tmp_path, "load_balance") == folders
    found = STUDY.contestants(MODERATE, [folders[0], folders[0], "sed"])
    assert keys(found) == {("qmix", 0), ("sed", None)}
    found = STUDY.contestants(MODERATE, [folders[0]], which="final")
    assert keys(found) == {("qmix,final", 0)}
    with pytest.raises(ValueError, match="are both called qmix, seed 0: evaluate one of them"):
        STUDY.contestants(MODERATE, folders)


def test_runs_without_checkpoint_and_of_other_problems_are_not_played(tmp_path, capsys):
    for problem, algorithm in (("load_balance", "qmix"), ("kv_cache", "ppo")):
        begun(tmp_path, problem, algorithm)
    with pytest.raises(ValueError, match="there is no run on load_balance in"):
        runs.runs_below(tmp_path, "load_balance")
    assert "qmix/seed_0 has no checkpoint yet" in capsys.readouterr().out


def test_a_summary_has_the_numbers_of_the_run(tmp_path):
    experiment = Experiment(
        "load_balance", "qmix", {"num_balancers": 3}, env_steps=90, evaluate_every=30
    )
    folder = tmp_path / experiment.folder
    (folder / "best").mkdir(parents=True)
    (folder / "experiment.json").write_text(experiment.to_json())
    (folder / "best" / "counters.json").write_text('{"env_steps": 60, "evaluation_return": 8.5}')
    lines = []
    for steps, value in ((30, 7.0), (60, 8.5), (90, 8.25)):
        line = {"env_steps": steps, "seconds": steps / 10, "cpu_seconds": steps / 20}
        line |= {"episode_return_mean": -value, "evaluation_return": value, "evaluation_m": steps}
        lines.append(json.dumps(line) + "\n")
    (folder / "progress.jsonl").write_text("".join(lines))
    text = write_summary(folder, ["play", "a b"]).read_text()
    for expected in (
        "# qmix on load_balance, default, seed 0",
        "90 of 90 env-steps in 9 s",
        '`{"num_balancers": 3}`',
        "| 60 | -8.5 | 8.5 |",
        "- `best/`: evaluation_return 8.5 at 60 env-steps",
        "- `checkpoint/`, final: 8.25 at 90 env-steps",
        "| m | 90 |",
        "    play 'a b'",
    ):
        assert expected in text
    (folder / "progress.jsonl").write_text("")
    with pytest.raises(ValueError, match="has no progress to sum up"):
        write_summary(folder, [])


# Plots -------------------------------------------------------------------------------------------


def test_the_pareto_front_of_a_few_points():
    cost, value = np.array([3.0, 1.0, 2.0, 2.5, 1.0]), np.array([5.0, 1.0, 4.0, 3.0, 0.5])
    assert front(cost, value).tolist() == [1, 2, 0]


def test_labels_do_not_overlap():
    rng = np.random.default_rng(1)
    figure, axes = plot.new_figure()
    points = [*rng.normal(size=(12, 2)), (0.0, 0.0), (0.0, 0.0)]
    axes.scatter(*np.transpose(points))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    names = [f"policy_{i}" for i in range(len(points))]
    boxes = place_labels(axes, points, names, ["k"] * len(points))
    assert len(axes.texts) == len(boxes) == len(points)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_what_an_episode_does_to_all_policies_does_not_count():
    apart = _within_episodes(GAP, "m")
    assert apart[GAP["policy"] == "half"].std() < 1e-9 < NOISE.std()
    for policy, rows in GAP.groupby("policy"):
        assert apart[GAP["policy"] == policy].mean() == pytest.approx(rows["m"].mean())


def test_pareto_and_panels_are_drawn(tmp_path):
    results = GAP.assign(cost=GAP["m"] ** 2 + GAP["policy"].map(len))
    results.to_csv(tmp_path / "results.csv", index=False)
    for picture in (
        pareto(tmp_path, results, "cost", "m"),
        plot.panels(tmp_path, ("m", "cost"), "comparison", larger_is_better=True),
    ):
        assert picture.parent == tmp_path / "plots"
        assert 1_000 < picture.stat().st_size < LIMIT_BYTES


def test_a_timeline_is_recorded_step_by_step(tmp_path):
    def push(observations):
        return {agent: np.zeros(1, int) for agent in observations}

    def before(problem):
        return {"time": problem.time[0]}

    def after(problem):
        return {"later": problem.time[0], ACTION: 2}

    rows = record(Drift(DriftConfig(), 1), push, 3, before, after)
    assert rows["time"].tolist() == list(range(len(rows)))
    assert rows["later"].tolist() == list(range(1, len(rows) + 1))
    with pytest.raises(ValueError, match="2 copies; a timeline is of one"):
        record(Drift(DriftConfig(), 2), push, 3, before, after)
    picture = timeline(
        tmp_path, {"x": rows}, ["a", "b", "c"], step_s=10.0, shared=["time"], own=["later"]
    )
    assert 1_000 < picture.stat().st_size < LIMIT_BYTES


def test_long_timelines_are_drawn_in_bins():
    rows = pd.DataFrame({"x": np.arange(2_400.0), ACTION: np.arange(2_400) % 10 < 3})
    edges, means, shares = _binned(rows, 2)
    assert edges.tolist() == list(range(0, 2_401, 10))
    np.testing.assert_allclose(means["x"], np.arange(240) * 10 + 4.5)
    np.testing.assert_allclose(shares, [[0.7, 0.3]] * 240)


def test_learning_curves_show_evaluations(tmp_path):
    run = tmp_path / "ppo" / "seed_0"
    run.mkdir(parents=True)
    lines = [{"env_steps": n, "m": -1.0 / n} for n in (8, 16, 24)]
    (run / "progress.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    alone = plot.learning_curves(tmp_path, "m", log=False).read_bytes()
    lines[1]["evaluation_return"] = lines[2]["evaluation_return"] = 2.0
    (run / "progress.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert plot.learning_curves(tmp_path, "m", log=False).read_bytes() != alone
    assert plot.knows(tmp_path, "m")
    assert not plot.knows(tmp_path, "n")


def test_episodes_of_one_window_count_as_one():
    # Two days, one of them played nine times: two values, which say little.
    results = pd.DataFrame(
        {
            "policy": "a",
            "training_seed": pd.array([None] * 10, dtype="Int64"),
            "episode_seed": range(10),
            "oracle": False,
            "return": 0.0,
            "window": [0.0] * 9 + [86_400.0],
            "m": [0.0] * 9 + [1.0],
        }
    )
    row = table.table(results, ["m"]).iloc[0]
    assert (row["m"], row["windows"]) == (pytest.approx(0.1), 2)
    assert 0.0 < row["m_low"] < 0.05
    assert 0.5 < row["m_high"] < 1.0
    assert "10 episodes in 2 windows." in table.caption(table.table(results, ["m"]))


def test_one_balancer_is_another_system_also_by_the_checkpoint(tmp_path, any_checkpoint):
    experiment = STUDY.experiment("moderate", "s_sac", seed=4)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "experiment.json").write_text(experiment.to_json())
    for path in (tmp_path, tmp_path / "checkpoint"):
        (found,) = STUDY.contestants(MODERATE, [path])
        assert found.config.num_balancers == 1
        assert (found.system, found.oracle) == ("one balancer", False)


def test_a_policy_keeps_how_it_acts_and_meets_what_others_meet(tmp_path, any_checkpoint):
    trained_on = replace(MODERATE, step_s=0.5, load=(0.3, 0.4))
    experiment = STUDY.experiment("moderate", "ppo", problem=trained_on)
    (tmp_path / "experiment.json").write_text(experiment.to_json())
    (found,) = STUDY.contestants(MODERATE, [tmp_path])
    assert (found.config.step_s, found.config.load) == (0.5, MODERATE.load)


def test_a_field_that_is_the_algorithm_s_own_cannot_be_changed():
    same = replace(MODERATE, reward_scope="agent")
    assert STUDY.experiment("moderate", "sac_gru", problem=same).preset == "moderate"
    with pytest.raises(ValueError, match="num_balancers is 3; s_sac has 1"):
        STUDY.experiment("moderate", "s_sac", problem=replace(MODERATE, num_balancers=3))


def test_a_schedule_has_the_same_shape_in_every_training():
    settings = {"lr": falling(1e-3), "gamma": 0.5}
    assert in_steps(settings, 100) == {"lr": [[0, 1e-3], [50, 1e-3], [100, 1e-4]], "gamma": 0.5}
