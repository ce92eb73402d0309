"""The processes that learn: one for each program, or for each client of one.

A learner that dies is started again, and goes on from where it last saved itself; one that nobody
uses saves itself and ends, until a client asks for its policy.
"""

import json
import logging
import os
import subprocess
import sys
import time
from math import inf
from pathlib import Path

from marlserve.serving.trainer.front import ENVIRONMENT, UNFIT, Front
from marlserve.serving.wire.program import Program, read

_SAVE_S = 60.0  # that a learner has to save itself
_logger = logging.getLogger(__name__)


class Learning:
    """The process that learns for one program, as long as somebody uses the policy.

    Args:
        file: of the program.
        client: whose learner it is; "": of all.
    """

    def __init__(self, file: Path, front: Front, client: str = ""):
        self._file, self._front, self._client = file, front, client
        program = read(file)
        self._program = program.of_client(client) if client else program
        self._ready_s = inf  # since when it takes steps
        self._process: subprocess.Popen | None = None
        self._start()

    @property
    def is_running(self) -> bool:
        """Whether it is to learn; else it sleeps."""
        return self._process is not None

    def look(self) -> None:
        """Start it again if it is gone, or is asked for; let it end if nobody uses it.

        Raises:
            ValueError: if it does not begin, since the file does not fit together.
        """
        policy = self._program.client_id
        if self._process is None:
            if policy in self._front.clients.asked:
                self._start()
            return
        if (code := self._process.poll()) == UNFIT:
            raise ValueError(f"{self._file} does not fit together, as its learner said")
        if code is not None:
            _logger.warning("the learner of %s ended with %d; it starts again", policy, code)
            self._start()
        now_s = time.monotonic()
        if policy in self._front.intakes:
            self._ready_s = min(self._ready_s, now_s)
        used_s = max(self._ready_s, self._front.heard_s(policy))
        if now_s - used_s > self._program.idle_after_s:
            _logger.info("nobody uses %s; its learner ends until somebody does", policy)
            self.stop()
            self._front.evict(policy)

    def stop(self) -> None:
        """Let it save itself."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_SAVE_S)
        except subprocess.TimeoutExpired:
            _logger.error("the learner of %s did not save itself in %g s", self._file, _SAVE_S)
            self._process.kill()
        self._process, self._ready_s = None, inf

    def _start(self) -> None:
        """In a process of its own."""
        command = [sys.executable, "-m", "marlserve.serving.trainer.learner"]
        command += ["--config", str(self._file), "--client", self._client]
        told = {ENVIRONMENT: json.dumps(self._front.learner_config)}
        self._process = subprocess.Popen(command, env=os.environ | told)


class PerClient:
    """The learners of one program whose clients have one each; they begin as clients come."""

    def __init__(self, file: Path, program: Program, front: Front):
        self._file, self._front, self._policy = file, front, program.client_id
        self._learners: dict[str, Learning] = {}
        front.clients.own[program.client_id] = program

    def look(self) -> None:
        """Start one for who asks and has none; see `Learning.look`."""
        for policy in list(self._front.clients.asked):
            whose, _, client = policy.rpartition("/")
            if whose == self._policy and client not in self._learners:
                self._learners[client] = Learning(self._file, self._front, client)
        for client, learner in list(self._learners.items()):
            learner.look()
            if not learner.is_running:
                del self._learners[client]

    def stop(self) -> None:
        """Let all of them save themselves."""
        for learner in self._learners.values():
            learner.stop()


def learning(file: Path, front: Front) -> Learning | PerClient:
    """Whoever learns for the program of this file."""
    program = read(file)
    if program.learners == "per_client":
        return PerClient(file, program, front)
    return Learning(file, front)
