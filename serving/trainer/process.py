"""The trainer as a process: a front for the clients, and for each program a process that learns.

    python -m marlserve.serving.trainer --config luna.json
    python -m marlserve.serving.trainer --config one.json two.yaml

All programs of one trainer have the same address, token and certificate. A learner that dies is
started again, and goes on from where it last saved itself. On SIGTERM or Ctrl-C all save
themselves. Lines of JSON say every second what was received, handed out and lost, and every two how
the learners are doing.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import tyro

from marlserve.serving.trainer import metrics
from marlserve.serving.trainer.front import ENVIRONMENT, Front, FrontSettings
from marlserve.serving.wire.program import Program, read

_LOOK_S = 1.0
_SAVE_S = 60.0  # that a learner has to save itself
_logger = logging.getLogger(__name__)


@dataclass
class Learning:
    """The process that learns for one program."""

    file: Path
    front: Front

    def start(self) -> None:
        """In a process of its own."""
        command = [sys.executable, "-m", "marlserve.serving.trainer.learner", "--config"]
        told = {ENVIRONMENT: json.dumps(self.front.learner_config)}
        self._process = subprocess.Popen([*command, str(self.file)], env=os.environ | told)

    def keep_running(self) -> None:
        """Start it again if it is gone."""
        if (code := self._process.poll()) is not None:
            _logger.warning("the learner of %s ended with %d; it starts again", self.file, code)
            self.start()

    def stop(self) -> None:
        """Let it save itself."""
        self._process.terminate()
        try:
            self._process.wait(_SAVE_S)
        except subprocess.TimeoutExpired:
            _logger.error("the learner of %s did not save itself in %g s", self.file, _SAVE_S)
            self._process.kill()


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
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Front(front_settings([read(file) for file in config])) as front:
        if metrics_port:
            metrics.serve(front, metrics_port)
        learners = [Learning(file, front) for file in config]
        for learner in learners:
            learner.start()
        _logger.info("clients are listened to at %s", front.address)
        while not ended.wait(_LOOK_S):
            for learner in learners:
                learner.keep_running()
            _tell(front)
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
