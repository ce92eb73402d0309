"""The trainer as a process: a front for the clients, and for each program a process that learns.

    python -m marlserve.serving.trainer --config luna.json
    python -m marlserve.serving.trainer --config one.json two.yaml

All programs of one trainer have the same address, token and certificate. `learning` says how the
processes live. On SIGTERM or Ctrl-C all save themselves. Lines of JSON say every second what was
received, handed out and lost, and every two how the learners are doing.
"""

import json
import logging
import signal
import sys
import threading
from pathlib import Path

import tyro

from marlserve.serving.trainer import metrics
from marlserve.serving.trainer.front import Front, FrontSettings
from marlserve.serving.trainer.learning import learning
from marlserve.serving.wire.program import Program, read

_LOOK_S = 1.0
_logger = logging.getLogger(__name__)


def front_settings(programs: list[Program]) -> FrontSettings:
    """Where all of these programs are listened to.

    Raises:
        ValueError: if they do not agree, two have one name, or a value is bad.
    """
    names = [program.client_id for program in programs]
    if len({*names}) < len(names):
        raise ValueError(f"client_id are {names}; each must be another one")
    own = [each.client_id for each in programs if each.learners == "per_client"]
    if any(name.rpartition("/")[0] in own for name in names):
        raise ValueError(f"client_id are {names}; with a / they may be those of clients of {own}")
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
        learners = [learning(file, front) for file in config]
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
