"""Processes that are measured: a trainer of CartPole by PPO, and programs that hold its clients."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from marlserve.serving.client.bare import READY
from marlserve.serving.trainer.front import ENVIRONMENT, Front, FrontSettings
from marlserve.serving.trainer.intake import Intake
from marlserve.serving.trainer.metrics import resident_bytes

POLICY = "cartpole"
_PROGRAM = {"client_id": POLICY, "algorithm_parameters": {"input_size": 4, "act_dim": 2, "seed": 0}}
_PATIENCE_S = 180.0


class Trainer:
    """A front, which is this process's, and a learner with a process of its own, as `process` has.

    Attributes:
        learned: steps that were trained on, once it has ended.
    """

    def __init__(self, front: Front, folder: Path):
        self._front, self._said = front, folder / "said.jsonl"
        config = folder / "program.json"
        config.write_text(json.dumps(_PROGRAM | {"folder": str(folder / "run")}))
        command = [sys.executable, "-m", "marlserve.serving.trainer.learner"]
        told = {ENVIRONMENT: json.dumps(front.learner_config)}
        with self._said.open("w") as out:
            self._process = subprocess.Popen(
                [*command, "--config", str(config)], env=os.environ | told, stdout=out
            )
        self.address, self.learned = front.address, 0

    @property
    def intake(self) -> Intake:
        """What came, and what became of it; there once a client has a policy."""
        return self._front.intakes[POLICY]

    def end(self) -> None:
        """Let the learner save itself, and say what it has learned from."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(_PATIENCE_S)
        lines = self._said.read_text().splitlines()
        self.learned = json.loads(lines[-1])["env_steps"] if lines else 0


@contextmanager
def trainer() -> Iterator[Trainer]:
    """One that begins anew, and ends."""
    with TemporaryDirectory() as folder, Front(FrontSettings(address="127.0.0.1:0")) as front:
        it = Trainer(front, Path(folder))
        try:
            yield it
        finally:
            it.end()


class Running:
    """A process of `client.bare` or `client.held`, which begins with it and ends with it."""

    def __init__(self, module: str, **options: Any):
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"marlserve.serving.client.{module}", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Until it lives.

        Raises:
            RuntimeError: if it does not.
        """
        assert self._process.stdout is not None
        if (line := self._process.stdout.readline().strip()) != READY:
            raise RuntimeError(f"a program said {line!r}, and not that it is {READY}")

    def resident_mb(self) -> float:
        """Of its memory."""
        return resident_bytes(self._process.pid) / 1e6

    def stop(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def report(self) -> dict[str, Any]:
        """What it says at its end."""
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        self._process.wait(_PATIENCE_S)
        return json.loads(said)

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
