"""What is published is made by commands, and played again it gives the same means."""

import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from marlserve.envs.load_balance import BASELINES
from marlserve.experiments import evidence, load_balance
from marlserve.experiments.studies import commands, published

SMALL = published.Table(
    "load_balance",
    "moderate",
    ("compare --presets moderate --algorithms ppo --seeds 0 --env-steps 1024 --episodes 2",),
    cpu_minutes=1,
    episodes=2,
    plots=("latency_percentiles",),
    shipped=("ppo",),
)


@pytest.mark.slow
def test_what_was_published_is_played_again(ray_session, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(published, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(evidence, "TABLES", (SMALL,))
    short = replace(SMALL.study.presets["moderate"], episode_s=10.0)
    monkeypatch.setattr(type(SMALL.study), "presets", {"moderate": short})
    with pytest.raises(ValueError, match="has no policies/: make load_balance/moderate first"):
        SMALL.check()
    out = tmp_path / "runs"
    assert load_balance.main([*shlex.split(SMALL.commands[0]), "--out", str(out)]) == 0
    SMALL.publish(out)
    (folder, _), _ = SMALL._played()
    assert {x.name for x in folder.iterdir()} == {
        "table.md",
        "means.csv",
        "latency_percentiles.png",
    }
    found = SMALL.check()
    assert set(found["policy"]) == {"ppo", *BASELINES}
    assert found["difference"].max() < 1e-6
    means = pd.read_csv(folder / "means.csv", index_col=[0, 1])
    means.loc[("sed", -1), "mean_latency_s"] *= 1.05
    means.to_csv(folder / "means.csv")
    assert evidence.main(["check"]) == 2
    assert "1 means differ by more than 0.01" in capsys.readouterr().err


@pytest.mark.parametrize("table", published.TABLES, ids=lambda table: table.name)
def test_the_commands_of_a_table_are_commands(table):
    study = table.study
    assert table.preset in study.presets
    assert set(table.shipped) <= set(study.candidates)
    assert table.commands
    for name, *flags in table.lines(Path("runs")):
        assert table.preset in flags
        assert name in commands.COMMANDS or name == "tune"


def test_recorded_files_are_asked_for_before_the_work(monkeypatch, capsys):
    monkeypatch.delenv("MARLSERVE_DATA", raising=False)
    assert (
        evidence.main(["make", "--tables", "load_balance/moderate", "kv_cache/service_floor"]) == 2
    )
    said = capsys.readouterr()
    assert "kv_cache/service_floor: preset service_floor plays recorded files" in said.err
    assert "$ python" not in said.out
