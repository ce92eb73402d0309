"""Where the curves of a training go, each read by the library that wrote them."""

import json
import sys

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import TINY

from marlserve.experiments import load_balance
from marlserve.experiments.harness.loggers import check, logging_to
from marlserve.experiments.harness.run import Run

ROWS = [
    {"env_steps": 64, "episode_return_mean": None, "loss": 1.5},
    {"env_steps": 128, "episode_return_mean": -3.0, "loss": 1.25},
]


@pytest.fixture
def run(tmp_path) -> Run:
    made = Run(TINY, tmp_path)
    made.begin()
    return made


def logged(run: Run, name: str) -> None:
    """Two rows, and the training is stopped after each."""
    for before, row in zip((0, 64), ROWS, strict=True):
        with logging_to([name], run, before) as log:
            run.add(row)
            log(row)


def test_csv_has_every_row(run):
    logged(run, "csv")
    pd.testing.assert_frame_equal(pd.read_csv(run.folder / "progress.csv"), pd.DataFrame(ROWS))


def test_tensorboard_has_every_number(run):
    logged(run, "tensorboard")
    events = EventAccumulator(str(run.folder)).Reload()
    assert [(x.step, x.value) for x in events.Scalars("loss")] == [(64, 1.5), (128, 1.25)]
    assert [(x.step, x.value) for x in events.Scalars("episode_return_mean")] == [(128, -3.0)]


@pytest.mark.slow
def test_mlflow_has_one_run_with_every_number(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason='pip install "marlserve[mlflow]"')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    logged(run, "mlflow")
    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert found.info.run_name == "qmix/seed_0"
    assert found.data.params["settings.learning_starts"] == "32"
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "loss")
    assert [(x.step, x.value) for x in history] == [(64, 1.5), (128, 1.25)]


@pytest.mark.slow
def test_wandb_has_one_run_with_every_number(run, monkeypatch):
    pytest.importorskip("wandb", reason='pip install "marlserve[wandb]"')
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged(run, "wandb")
    folders = list(run.folder.glob("wandb/offline-run-*"))
    (name,) = {x.name.rpartition("-")[2] for x in folders}
    assert json.loads((run.folder / "loggers.json").read_text()) == {"wandb": name}


def test_what_is_not_there_is_said_before_the_training(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="log has 'neptune'; allowed are"):
        check(["csv", "neptune"])
    assert load_balance.main(["train", "--log", "wandb"]) == 2
    assert """log has 'wandb': pip install "marlserve[wandb]\"""" in capsys.readouterr().err
