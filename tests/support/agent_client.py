"""The agent service: within this process, without a socket, or as a process of its own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from marlserve.serving.agent.server import running
from marlserve.serving.agent.settings import AgentSettings

README = {
    "replica_loads": [5, 3, 7],
    "queue_depth": 12,
    "recent_latency_ms": 280.5,
    "current_rps": 8.2,
    "success_rate": 0.98,
}
EXPERIENCE = {
    "state": [5, 3, 7, 12, 0.28, 8.2, 0.98, 0.5, 0.4, 0.5],
    "action": 1,
    "latency_ms": 265.3,
    "success": True,
    "replica_loads": [5, 4, 7],
}
PATIENCE_S = 240.0


class Answer(NamedTuple):
    """What came back; `body` is of JSON, if it is any."""

    status: int
    body: Any


class Client:
    """Asks the application directly; what runs beside it goes on while it is asked."""

    def __init__(self, runner: asyncio.Runner, app: Any):
        self.app, self._runner = app, runner

    @property
    def service(self):
        return self.app._answers.service

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, b"", headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else b"" if body is None else to_bytes(body)
        return self.ask("POST", path, data, headers)

    def select(self, **changes: Any) -> Answer:
        return self.post("/select_replica", README | changes)

    def record(self, **changes: Any) -> Answer:
        return self.post("/record_experience", EXPERIENCE | changes)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return self._runner.run(self._asked(method, path, body, headers))

    def wait(self, seconds: float) -> None:
        self._runner.run(asyncio.sleep(seconds))

    def until(self, condition) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, "it takes too long"
            self.wait(0.02)

    async def _asked(self, method, path, body, headers) -> Answer:
        where, _, query = path.partition("?")
        given = {"content-type": "application/json"} | headers
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": where,
            "raw_path": where.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "scheme": "http",
            "server": ("127.0.0.1", 5000),
            "client": ("127.0.0.1", 1),
        }
        sent: list[dict] = []
        half = len(body) // 2
        parts = [
            {"type": "http.request", "body": body[:half], "more_body": True},
            {"type": "http.request", "body": body[half:], "more_body": False},
        ]

        async def receive():
            return parts.pop(0) if parts else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        return of_json(sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:]))


def of_json(status: int, data: bytes) -> Answer:
    try:
        return Answer(status, json.loads(data))
    except ValueError:
        return Answer(status, data.decode())


def to_bytes(body: Any) -> bytes:
    return json.dumps(body).encode()


@contextmanager
def agent(folder: Path, **settings: Any) -> Iterator[Client]:
    """Within this process; it neither trains nor explores unless it is told to."""
    quiet = {"num_replicas": 3, "trainer": False, "exploration": False}
    given = {"model_path": folder} | quiet | settings
    with asyncio.Runner() as runner:
        context = running(AgentSettings(**given))
        client = Client(runner, runner.run(context.__aenter__()))
        try:
            yield client
        finally:
            runner.run(context.__aexit__(None, None, None))


class Process:
    """One that listens on a port of its own."""

    def __init__(self, folder: Path, **variables: str):
        self.port = free_port()
        command = [sys.executable, "-m", "marlserve.serving.agent", "--port", str(self.port)]
        given = {"MODEL_PATH": str(folder), "NUM_REPLICAS": "3", "RL_TRAINER": "false"} | variables
        self.process = subprocess.Popen(command, env=os.environ | given)
        end_s = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, "it ended"
            assert time.monotonic() < end_s, "it takes too long"
            try:
                if self.ask("GET", "/ready").status == 200:
                    break
            except OSError:
                time.sleep(0.05)

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            data = None if body is None else to_bytes(body)
            connection.request(method, path, data, {"content-type": "application/json"})
            response = connection.getresponse()
            return of_json(response.status, response.read())
        finally:
            connection.close()

    def end(self, how: int = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
