"""The scripts of docs/examples run, at a small size."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def output(name: str, *words: str, folder: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_what_qmix_does_is_looked_at(tmp_path):
    text = output("look_at_qmix.py", "--small", folder=tmp_path)
    assert re.search(r"qmix: mean latency [\d.]+ ms\nsed: mean latency [\d.]+ ms", text)
    assert {x.name for x in tmp_path.glob("*.png")} == {"reaction.png", "what_it_looks_at.png"}


def test_rewards_that_come_late_are_learned_from(tmp_path):
    text = output("late_rewards.py", "--small", folder=tmp_path)
    sent, late = re.search(r"sent ([\d,]+) of 3,000 steps, (\d+) rewards too late", text).groups()
    assert int(sent.replace(",", "")) >= 2_900
    assert int(late) < 300


@pytest.mark.skipif("OTHERS" not in os.environ, reason="make test-others installs the engine")
def test_the_engine_serves_as_the_simulator_does(tmp_path):
    flags = ("--seconds", "20", "--others", os.environ["OTHERS"])
    text = output("replay_routes.py", *flags, folder=tmp_path)
    count, apart_ms = re.search(r"(\d+) requests; at most ([\d.]+) ms apart", text).groups()
    assert int(count) > 300
    assert float(apart_ms) < 1.0
    assert (tmp_path / "replayed.png").exists()
