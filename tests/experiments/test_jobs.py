"""Trainings side by side, one writer a folder, and what is left when processes end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TINY, contents

from marlserve.experiments.harness import jobs
from marlserve.experiments.harness.locks import one_writer
from marlserve.experiments.harness.run import Run, read_progress
from marlserve.experiments.harness.training import train
from marlserve.policies.checkpoint import CheckpointPolicy

SCRIPT = Path(__file__).parents[2] / "experiments" / "load_balance.py"


@pytest.fixture(scope="module")
def finished(ray_session, tmp_path_factory) -> Path:
    """Where a finished run of TINY is; not to be changed."""
    out = tmp_path_factory.mktemp("finished")
    train(TINY, out, show=False)
    return out


@pytest.mark.slow
def test_trainings_run_side_by_side(finished, tmp_path):
    shutil.copytree(finished / TINY.folder, tmp_path / TINY.folder)
    experiments = [replace(TINY, seed=seed) for seed in range(3)]
    before = contents(tmp_path / TINY.folder)
    folders = jobs.train_all(experiments, tmp_path, jobs=2)
    assert [read_progress(folder)["env_steps"].iloc[-1] for folder in folders] == [128] * 3
    assert contents(folders[0]) == before
    weights = [
        (folder / "checkpoint/learner_group/learner/rl_module/shared/module_state.pkl").read_bytes()
        for folder in folders
    ]
    assert len(set(weights)) == 3


@pytest.mark.slow
def test_ctrl_c_at_the_command_line_leaves_a_checkpoint(tmp_path):
    command = [sys.executable, str(SCRIPT), "train", "--out", str(tmp_path), "--episode-s", "5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    progress, deadline = [], time.monotonic() + 200.0
    while not progress and time.monotonic() < deadline and process.poll() is None:
        progress = list(tmp_path.glob("load_balance/*/qmix/seed_0/progress.jsonl"))
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=100.0)
    assert process.returncode == 130, errors
    assert "the same command goes on from there" in " ".join(out.split())
    assert errors.strip() == "interrupted"
    folder = progress[0].parent
    counters = json.loads((folder / "checkpoint" / "counters.json").read_text())
    assert counters["env_steps"] == read_progress(folder)["env_steps"].iloc[-1]
    observations = np.zeros(
        (3, *CheckpointPolicy(folder)._actors["shared"].module.observation_space.shape)
    )
    assert CheckpointPolicy(folder)({"lb_0": observations})["lb_0"].shape == (3, 7)


HOLDER = """
import sys, time
from pathlib import Path
from marlserve.experiments.harness.locks import one_writer

with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_run_has_one_writer_and_the_dead_hold_nobody_up(tmp_path):
    folder = tmp_path / TINY.folder
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            who = rf"{folder} is being written by process {holder.pid} on .*, since 20\d\d-"
            with pytest.raises(ValueError, match=who):
                train(TINY, tmp_path, show=False)
            assert not folder.exists()
        finally:
            holder.kill()
    with Run(TINY, tmp_path).writing():
        pass


def test_a_folder_is_free_after_its_writer(tmp_path):
    with (
        one_writer(tmp_path / "run"),
        pytest.raises(ValueError, match="is being written by process"),
        one_writer(tmp_path / "run"),
    ):
        pass
    with one_writer(tmp_path / "run"):
        pass


SIDE_BY_SIDE = """
import os, sys
from dataclasses import replace
from pathlib import Path
from tiny_runs import TINY
from marlserve.experiments.harness import jobs, training
from marlserve.experiments.harness.run import Run

def train(experiment, out, **how):  # waits for its end as a training does, without Ray
    run = Run(experiment, out)
    with run.writing(), training._stop() as stop:
        run.begin()
        stop.wait()
        run.checkpoint.mkdir()
    raise KeyboardInterrupt

jobs.train = train  # in the processes that are spawned, too: they import this

if __name__ == "__main__":
    experiments = [replace(TINY, seed=seed) for seed in range(2)]
    for out in sys.argv[1:]:  # a parent of two trainings each
        if not (parent := os.fork()):
            jobs.train_all(experiments, Path(out), jobs=2)
        print(parent, flush=True)
    os.wait()
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_trainings_end_with_their_parent(tmp_path):
    """That is told to end, and that is killed."""
    script, outs = tmp_path / "side_by_side.py", [tmp_path / "told", tmp_path / "killed"]
    script.write_text(SIDE_BY_SIDE)
    folders = [out / replace(TINY, seed=seed).folder for out in outs for seed in range(2)]
    command = [sys.executable, str(script), *map(str, outs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        parents = [int(process.stdout.readline()) for _ in outs]
        try:
            begun = [folder / "experiment.json" for folder in folders]
            wait_for(lambda: all(file.exists() for file in begun), process)
            os.kill(parents[0], signal.SIGTERM)
            os.kill(parents[1], signal.SIGKILL)
            process.wait(timeout=120.0)
        finally:
            process.kill()
    wait_for(lambda: all((folder / "checkpoint").exists() for folder in folders))
    wait_for(lambda: not list(tmp_path.rglob(".seed_*.writer")))


def wait_for(condition, process=None, seconds=250.0):
    """Until it holds, as long as the process lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.2)
