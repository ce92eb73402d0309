"""A trainer as a process, with the file of a program that is learned for."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def file_of(folder: Path, **changes) -> Path:
    said = {
        "client_id": "cartpole",
        "algorithm_parameters": {"input_size": 4, "act_dim": 2, "seed": 0},
        "type": "onpolicy",
        "train_server_address": f"127.0.0.1:{free_port()}",
        "folder": str(folder / "run"),
        "save_every_s": 1.0,
        "when_full": "wait",
        "buffer_steps": 1_000,
        "evaluator": "numpy",
        "niceness": 0,  # or it starves while other tests run beside
    }
    path = folder / "program.json"
    path.write_text(json.dumps(said | changes))
    return path


class Trainer:
    """The process; its learners' lines go to a file."""

    def __init__(self, config: Path):
        self._said = config.parent / "said.txt"
        command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)]
        with self._said.open("a") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def progress(self) -> list[dict]:
        """What its learners said so far, over all restarts."""
        return [x for x in self._lines() if "env_steps" in x]

    def counts(self) -> dict:
        """What its front said last."""
        return [x for x in self._lines() if "received" in x][-1]

    def _lines(self) -> list[dict]:
        lines = self._said.read_text().splitlines()
        return [json.loads(x) for x in lines if x.startswith("{") and x.endswith("}")]

    def learner(self) -> int:
        return self.learners()[0]

    def learners(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in path.read_text().split()]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def kill(self) -> None:
        if self.process.poll() is None:
            for learner in self.learners():
                os.kill(learner, signal.SIGKILL)
            self.process.kill()
