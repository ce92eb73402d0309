"""The command line of the scheduling experiments: presets, and who has fields of their own."""

from pathlib import Path

import pytest

from marlserve.envs.job_scheduling import BASELINES
from marlserve.envs.job_scheduling.baselines import ACROSS_CLUSTERS, ONE_CLUSTER
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.harness.run import read_experiment
from marlserve.experiments.job_scheduling import main
from marlserve.experiments.studies.job_scheduling import settings
from marlserve.experiments.studies.job_scheduling.study import STUDY

TINY = ["--num-jobs=30"]
LABEL = "lublin,num_jobs=30"
FEW = {"num_envs_per_env_runner": 8, "rollout_fragment_length": 16}


def test_a_preset_has_its_log_where_the_data_are(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv(settings.DATA, raising=False)
    assert STUDY.presets["lublin_256"].trace == "lublin"
    assert main(["train", "--preset", "lublin_256", "--out", str(tmp_path)]) == 2
    assert "give --trace file --trace-path FILE, or set MARLSERVE_DATA" in capsys.readouterr().err
    monkeypatch.setenv(settings.DATA, "somewhere")
    found = STUDY.presets["lublin_256"]
    assert (found.trace, found.trace_path) == ("file", "somewhere/swf/lublin_256.swf")
    assert main(["train", "--preset", "lublin_256", "--out", str(tmp_path)]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_who_sends_jobs_plays_with_several_clusters_alone():
    names = {
        preset: {x.name for x in STUDY.baselines(STUDY.presets[preset], [0])}
        for preset in ("lublin", "grid")
    }
    assert names["lublin"] == set(BASELINES) - {*ACROSS_CLUSTERS}
    assert names["grid"] == set(BASELINES) - set(ONE_CLUSTER)
    with pytest.raises(ValueError, match="action is 'inspect'; allowed is 'choose' with clusters="):
        STUDY.experiment("grid", "inspector").problem_config()


@pytest.mark.slow
def test_who_chooses_and_who_inspects_are_compared_in_one_table(ray_session, tmp_path, monkeypatch):
    """Each with its own backfilling, whatever the preset has."""
    monkeypatch.setattr(settings, "ENV_RUNNERS", FEW)
    monkeypatch.setattr(settings, "EVALUATION_EPISODES", 2)
    names = tuple(STUDY.candidates)
    line = ["--presets", "lublin", "--algorithms", *names, "--seeds", "0", "--env-steps", "256"]
    line += [*TINY, "--episodes", "3", "--out", str(tmp_path)]
    assert main(["compare", *line]) == 0
    folder = Path(tmp_path, "job_scheduling", LABEL)
    results = read_results(folder / "results.csv")
    assert set(results["policy"]) == {*names, *BASELINES} - {*ACROSS_CLUSTERS}
    assert (results["started"] == 30).all()
    mean = results.groupby("policy")["backfilled_share"].max()
    assert mean["ppo"] == mean["sjf"] == 0.0
    assert min(mean["ppo_backfill"], mean["sjf_backfill"]) > 0.0
    own = {name: read_experiment(folder / name / "seed_0")["env_config"] for name in names}
    assert {name: config["backfill"] for name, config in own.items()} == {
        "ppo": "none",
        "ppo_backfill": "easy",
        "inspector": "none",
        "inspector_backfill": "easy",
    }
    assert {path.name for path in (folder / "plots").iterdir()} >= {"performance_comparison.png"}
