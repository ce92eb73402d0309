"""The process that learns for one program: it trains, saves itself, and goes on where it was.

    python -m marlserve.serving.trainer.learner --config FILE     # started by `process`

It learns as long as there are steps; on SIGTERM it saves itself and ends. In its folder there are
`checkpoint/`, `policies/` (a `PolicyStore` with a version for each time that it saved itself) and
events for TensorBoard. It prints a line of JSON every few seconds.
"""

import json
import logging
import os
import shutil
import signal
import sys
import time
from math import isfinite, nan
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import tyro
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES_LIFETIME,
)
from torch.utils.tensorboard import SummaryWriter

from marlserve.policies import session
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.trainer.algorithms import config_of
from marlserve.serving.trainer.external import external_team
from marlserve.serving.trainer.front import ENVIRONMENT, UNFIT
from marlserve.serving.trainer.program_spaces import spaces_of
from marlserve.serving.trainer.runners import env_runner
from marlserve.serving.trainer.runners.env_runner import Ended, ExternalEnvRunner
from marlserve.serving.wire.program import Program, read

_TELL_EVERY_S = 2.0
_logger = logging.getLogger(__name__)


def configured(program: Program, learner_config: dict[str, Any]) -> AlgorithmConfig:
    """The config that learns for this program.

    Raises:
        ValueError: for a file that does not fit together, or asks for what cannot work.
    """
    spaces, state_size = spaces_of(program), program.state_size
    config = config_of(program)
    return external_team(config, learner_config, program.client_id, spaces, state_size)


class Learner:
    """One program's algorithm, and its folder."""

    def __init__(self, program: Program, config: AlgorithmConfig):
        self._folder = Path(program.where).resolve()
        self._store = PolicyStore(self._folder / "policies")
        self._config, self._save_every_s = config, program.save_every_s
        self._algorithm = self._restored()
        self._return_mean: float | None = None
        steps = self._progress()["env_steps"]
        self._events = SummaryWriter(str(self._folder), purge_step=steps or None)

    def run(self) -> None:
        """Learn until `env_runner.ending` is set, and save."""
        saved_s = told_s = time.monotonic()
        while not env_runner.ending.is_set():
            try:
                result = self._algorithm.train()
            except Ended:
                break
            mean = result.get(ENV_RUNNER_RESULTS, {}).get(EPISODE_RETURN_MEAN, nan)
            self._return_mean = float(mean) if isfinite(mean) else self._return_mean
            now_s = time.monotonic()
            if now_s - told_s > _TELL_EVERY_S:
                told_s = now_s
                self._tell()
            if now_s - saved_s > self._save_every_s:
                saved_s = now_s
                self.save()
        self.save()
        self._tell()

    def save(self) -> None:
        """Write a checkpoint in the place of the one before, and publish the policy on disk."""
        unfinished = self._folder / f".checkpoint.{uuid4().hex}"
        try:
            self._algorithm.save_to_path(str(unfinished))
            old, saved = self._folder / f".old.{uuid4().hex}", self._folder / "checkpoint"
            if saved.exists():
                os.rename(saved, old)
            os.rename(unfinished, saved)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        runner = self._algorithm.env_runner
        assert isinstance(runner, ExternalEnvRunner)
        self._store.publish(runner.policies(self._progress())[0])

    def _restored(self) -> Algorithm:
        """The algorithm as it was saved; anew if it was not, or what was saved is broken."""
        saved = self._folder / "checkpoint"
        if saved.exists():
            algorithm = self._config.copy(copy_frozen=False).build_algo()
            try:
                algorithm.restore_from_path(str(saved))
                return algorithm
            except Exception as error:  # whatever a broken pickle raises
                algorithm.stop()
                aside = self._folder / f"checkpoint.broken-{uuid4().hex}"
                _logger.warning("learning begins anew; %s is now %s: %r", saved, aside, error)
                os.rename(saved, aside)
        return self._config.build_algo()

    def _progress(self) -> dict[str, Any]:
        def peek(name: str) -> Any:
            return self._algorithm.metrics.peek((ENV_RUNNER_RESULTS, name), default=0)

        return {
            "env_steps": int(peek(NUM_ENV_STEPS_SAMPLED_LIFETIME)),
            "episodes": int(peek(NUM_EPISODES_LIFETIME)),
            "return_mean": self._return_mean,  # of the latest 100 episodes
            "updates": int(self._algorithm.training_iteration),
        }

    def _tell(self) -> None:
        progress = self._progress()
        print(json.dumps(progress), flush=True)
        for name, value in progress.items():
            if value is not None:
                self._events.add_scalar(name, value, progress["env_steps"])
        self._events.flush()


def run(config: Path, client: str = "") -> None:
    """Learn for the program of this file.

    Args:
        config: the file, see `marlserve.serving.wire.program`.
        client: for this one alone; "": for all.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to us as well
    torch.set_num_threads(1)
    session.quiet()
    program = read(config)
    os.nice(program.niceness)
    if client:
        program = program.of_client(client)
    try:
        learned = configured(program, json.loads(os.environ[ENVIRONMENT]))
        if program.algorithm_name == "APPO":
            session.start(1)  # its learner, of RLlib, gives weights away as Ray's objects
        else:
            session.alone()
        # Not before: Ray takes the signal for itself as it starts.
        signal.signal(signal.SIGTERM, lambda *_: env_runner.ending.set())
        learner = Learner(program, learned)
    except ValueError as error:
        print(f"error: {config}: {error}", file=sys.stderr)
        sys.exit(UNFIT)
    learner.run()


if __name__ == "__main__":
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
