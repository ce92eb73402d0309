"""The trainer as a process: a front for the clients, and for each program a process that learns.

    python -m marlserve.serving.trainer --config luna.json
    python -m marlserve.serving.trainer --config one.json two.yaml

All programs of one trainer have the same address, token and certificate. A learner that dies is
started again, and goes on from where it last saved itself; one that nobody uses saves itself and
ends, until a client asks for its policy. On SIGTERM or Ctrl-C all save themselves. Lines of JSON
say every second what was received, handed out and lost, and every two how the learners are doing.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from math import inf
from pathlib import Path

import tyro

from marlserve.serving.trainer import metrics
from marlserve.serving.trainer.front import ENVIRONMENT, UNFIT, Front, FrontSettings
from marlserve.serving.wire.program import Program, read

_LOOK_S = 1.0
_SAVE_S = 60.0  # that a learner has to save itself
_logger = logging.getLogger(__name__)


class Learning:
    """The process that learns for one program, as long as somebody uses the policy."""

    def __init__(self, file: Path, front: Front):
        self._file, self._front = file, front
        program = read(file)
        self._policy, self._idle_after_s = program.client_id, program.idle_after_s
        self._ready_s = inf  # since when it takes steps
        self._process: subprocess.Popen | None = None
        self._start()

    def look(self) -> None:
        """Start it again if it is gone, or is asked for; let it end if nobody uses it.

        Raises:
            ValueError: if it does not begin, since the file does not fit together.
        """
        if self._process is None:
            if self._policy in self._front.clients.asked:
                self._start()
            return
        if (code := self._process.poll()) == UNFIT:
            raise ValueError(f"{self._file} does not fit together, as its learner said")
        if code is not None:
            _logger.warning("the learner of %s ended with %d; it starts again", self._file, code)
            self._start()
        now_s = time.monotonic()
        if self._policy in self._front.intakes:
            self._ready_s = min(self._ready_s, now_s)
        if now_s - max(self._ready_s, self._front.heard_s(self._policy)) > self._idle_after_s:
            _logger.info("nobody uses %s; its learner ends until somebody does", self._policy)
            self.stop()
            self._front.evict(self._policy)

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
        command = [sys.executable, "-m", "marlserve.serving.trainer.learner", "--config"]
        told = {ENVIRONMENT: json.dumps(self._front.learner_config)}
        self._process = subprocess.Popen([*command, str(self._file)], env=os.environ | told)
        self._front.clients.asked.discard(self._policy)


def front_settings(programs: list[Program]) -> FrontSettings:
    """Where all of these programs are listened to.

    Raises:
        ValueError: if they do not agree, two have one name, or a value is bad.
    """
    names = [program.client_id for program in programs]
    if len({*names}) < len(names):
        raise ValueError(f"client_id are {names}; each must be another one")
    addresses = {
        (each.train_server_address, each.token, each.certificate, each.key) for each in programs
    }
    if len(addresses) > 1:
        raise ValueError("programs of one trainer have one address, token, certificate and key")
    address, token, certificate, key = addresses.pop()
    return FrontSettings(address, token, certificate, key)


def run(config: tuple[Path, ...], metrics_port: int = 0) -> None:
    """Learn for programs until a signal comes.

    Args:
        config: a file for each program, see `marlserve.serving.wire.program`.
        metrics_port: where Prometheus asks, on loopback; 0: nowhere.

    Raises:
        ValueError: for a file that is wrong, or asks for what cannot work, and an address that
            cannot be had.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Front(front_settings([read(file) for file in config])) as front:
        if metrics_port:
            metrics.serve(front, metrics_port)
        learners = [Learning(file, front) for file in config]
        _logger.info("clients are listened to at %s", front.address)
        try:
            while not ended.wait(_LOOK_S):
                for learner in learners:
                    learner.look()
                _tell(front)
        finally:
            for learner in learners:
                learner.stop()
            _tell(front)


def _tell(front: Front) -> None:
    """What was received, handed out and lost, a line for each policy."""
    for intake in list(front.intakes.values()):
        print(json.dumps(intake.counts()), flush=True)


def main() -> None:
    """The command line."""
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
