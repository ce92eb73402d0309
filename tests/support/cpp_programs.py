"""The programs of `serving/cpp`, which `make test-cpp` builds, or their tests are skipped."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from marlserve.serving.trainer.front import Front

CPP = [
    pytest.mark.cpp,
    pytest.mark.skipif("MARLSERVE_CPP" not in os.environ, reason="make test-cpp builds them"),
]
ZEROS = (0.0,) * 4  # what may be seen


def program(name: str) -> Path:
    return Path(os.environ["MARLSERVE_CPP"]) / name


class Console:
    """A client in C++ that does what it is told; see `programs/console.cpp`."""

    def __init__(self, folder: Path, address: str, **said: Any):
        path = folder / "program.json"
        path.write_text(json.dumps({"client_id": "policy", "train_server_address": address} | said))
        self.process = subprocess.Popen(
            [program("console"), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, *words: object) -> Any:
        """What is answered.

        Raises:
            ValueError: if it says that it cannot be done.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().strip()
        if line.startswith("error: "):
            raise ValueError(line)
        return line if line == "ok" else json.loads(line)

    def act(self, *seen: float, mask: Iterable[int] = (), agent: str = "agent") -> dict[str, Any]:
        return self.ask("act", agent, *seen, *(["|", *mask] if mask else []))

    def counts(self) -> dict[str, Any]:
        return self.ask("counts")

    def live(self, rewards: Iterable[float], agent: str = "agent") -> None:
        """An episode of so many steps, which sees their number."""
        for step, reward in enumerate(rewards):
            decision = self.act(*[step % 9] * 4, agent=agent)
            self.ask("reward", decision["id"], reward)
        self.ask("terminate", agent)

    def close(self, timeout_s: float = 10.0) -> dict[str, Any]:
        """The counts by then."""
        assert self.ask("close", timeout_s) == "ok"
        return self.counts()

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_: object) -> None:
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors


def ready(folder: Path, front: Front, **said: Any) -> Console:
    """A client that has the policy."""
    client = Console(folder, front.address, **said)
    assert client.ask("wait", 60)
    return client
