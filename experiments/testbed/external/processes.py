"""A trainer and a program that learns from it, processes of their own, from start to end.

A folder has the file that both read, program.json, what the trainer says, trainer.txt, and what it
saves, run/.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from marlserve.experiments.harness.run import write
from marlserve.experiments.testbed.balancer import free_port
from marlserve.policies import export
from marlserve.policies.export.network import PolicyFile

_LINE = re.compile(r"([\d,]+) steps, return (\S+), .*lost ([\d,]+)")


@dataclass(frozen=True)
class Learned:
    """What a program came to."""

    steps: int  # that it made
    latest_100: float  # mean return of the latest 100 episodes, exploration included
    lost_steps: int
    wall_s: int
    cpu_s: int  # of both


def program_file(folder: Path, said: Mapping[str, Any]) -> Path:
    """What the program and the trainer both read: `said`, and how these two meet. The program
    waits for the learner."""
    rest = {
        "train_server_address": f"127.0.0.1:{free_port()}",
        "folder": str(folder / "run"),
        "when_full": "wait",
        "niceness": 0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "program.json", json.dumps({**said, **rest}, indent=2))
    return folder / "program.json"


def learn(folder: Path, said: Mapping[str, Any], module: str, flags: Sequence[str]) -> Learned:
    """Let a program learn from a new trainer; what is in the folder is deleted.

    Args:
        folder: absolute.
        said: of the file that both read, see `program_file`.
        module: of `marlserve.serving.client`, the program.
        flags: of it, beside --config.

    Raises:
        ValueError: if the program fails, or does not say at its end what it came to.
    """
    shutil.rmtree(folder, ignore_errors=True)
    config, before, start_s = program_file(folder, said), os.times(), time.monotonic()
    with (folder / "trainer.txt").open("w") as out:
        command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)]
        trainer = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        command = [sys.executable, "-m", f"marlserve.serving.client.{module}"]
        line = _followed([*command, "--config", str(config), *flags])
    finally:
        trainer.send_signal(signal.SIGTERM)
        trainer.wait()
    if (found := _LINE.search(line)) is None:
        raise ValueError(f"the program ended with {line!r}; {folder}/trainer.txt may say why")
    steps, latest, lost = found.groups()
    cpu_s = sum(os.times()[2:4]) - sum(before[2:4])  # of children
    wall_s = round(time.monotonic() - start_s)
    return Learned(_whole(steps), float(latest), _whole(lost), wall_s, round(cpu_s))


def newest_policy(folder: Path) -> PolicyFile:
    """What the trainer saved as it ended."""
    versions = (folder / "run/policies/versions").iterdir()
    return export.read(max(versions, key=lambda path: int(path.name)))


def read(file: Path) -> list[dict[str, Any]]:
    """The rows that there are."""
    return pd.read_csv(file).to_dict("records") if file.exists() else []


def add(file: Path, rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """One more."""
    rows.append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, pd.DataFrame(rows).to_csv(index=False))


def _followed(command: Sequence[str]) -> str:
    """Let a program run, and show what it says; its last line."""
    line = ""
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        for line in program.stdout:
            print(line, end="", flush=True)
    if program.returncode:
        raise ValueError(f"the program ended with status {program.returncode} after {line!r}")
    return line


def _whole(text: str) -> int:
    return int(text.replace(",", ""))
