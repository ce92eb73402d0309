"""The process that trains: it does what it is told, line by line, or trains by itself.

    python -m marlserve.serving.training --store models --log experience.sqlite --num-replicas 3

It reads commands from its standard input, one a line, and answers each with one line: what
`Trainer.train` returns, and "error" if something was wrong.

    {"command": "train", "batch_size": 64, "iterations": 10}
    {"command": "save"}                            also publishes: "version", "" if it is not sound
    {"command": "epsilon", "value": 1.0}
    {"command": "progress"}

With --every-s 60 it makes `iterations` updates a minute instead, takes no commands, and saves
itself on SIGTERM. With --redis-url it takes experiences from the stream that services deliver to,
into its own log first. With --problem the log is of gateways, which show what they see as that
preset of `envs.replica_routing`:

    python -m marlserve.serving.training --store models --log gateway.sqlite --num-replicas 3 \
        --problem mixed --every-s 10 --iterations 100 --start runs/replica_routing/mixed/dqn/seed_0
"""

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import redis
import torch
import tyro
from filelock import FileLock, Timeout

from marlserve.envs import checks
from marlserve.envs.replica_routing.config import PRESETS
from marlserve.serving.experience.stream import receive
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.training.logged import AgentLog, GatewayLog, Logged
from marlserve.serving.training.trainer import Settings, Trainer

PROBLEMS = tuple(name for name, config in PRESETS.items() if config.view != "source")


def answer(trainer: Trainer, line: str) -> dict[str, Any]:
    """What a command gives."""
    try:
        said = json.loads(line)
        command = said["command"]
        if command == "train":
            return trainer.train(said["batch_size"], said["iterations"])
        if command == "save":
            trainer.save()
            return {"version": trainer.publish()} | trainer.progress()
        if command == "epsilon":
            if not checks.is_number(said["value"], 0.0, 1.0):
                raise ValueError(f"epsilon is {said['value']!r}; allowed is a number from 0 to 1")
            trainer.epsilon = float(said["value"])
        elif command != "progress":
            raise ValueError(f"command is {command!r}")
        return trainer.progress()
    except (KeyError, TypeError, ValueError) as error:
        return {"error": str(error)} | trainer.progress()


def run(
    store: Path,
    log: Path,
    num_replicas: int = 2,
    seed: int = 0,
    every_s: float = 0.0,
    batch_size: int = 64,
    iterations: int = 10,
    redis_url: str = "",
    problem: Literal[*PROBLEMS] | None = None,  # type: ignore[valid-type]
    timing: Path | None = None,
    start: Path | None = None,
    niceness: int = 10,
) -> None:
    """Train until the input ends, or for ever.

    Args:
        store: folder of the policy files; the trainer saves itself there, too.
        log: the log of experiences.
        num_replicas: R.
        seed: of the weights as they begin, and of what is picked from the log.
        every_s: train by itself, so often; 0: on command.
        batch_size: transitions in an update, with `every_s`.
        iterations: updates each time, with `every_s`.
        redis_url: where experiences come from; "": they are in the log already.
        problem: the preset whose policies gateways play; none: the log is of the agent service.
        timing: the `timing_path` that it has, as gateways are told; none: the preset's own.
        start: a run, or a checkpoint, of our DQN on that problem, whose network it begins with.
        niceness: 0 to 19, how far it stands back for other processes: who decides goes first.

    Raises:
        ValueError: for a bad value, and if another trainer works for this store.
    """
    if not 0 <= niceness <= 19:
        raise ValueError(f"niceness is {niceness}; allowed is 0 to 19")
    logged: Logged = AgentLog(num_replicas)
    if problem is not None:
        config = replace(PRESETS[problem], timing_path=str(timing or ""))
        logged = GatewayLog(config, num_replicas)
    settings, policies = Settings(gamma=logged.gamma, seed=seed), PolicyStore(store)
    only_one = FileLock(store / ".trainer.lock", blocking=False)
    try:
        only_one.acquire()
    except Timeout as error:
        raise ValueError(f"another trainer works for {store}") from error
    os.nice(niceness)
    torch.set_num_threads(1)
    trainer = Trainer(settings, logged, policies, log, start)
    if every_s > 0.0:
        _train_every(every_s, trainer, batch_size, iterations, redis_url, log)
        return
    print(json.dumps(trainer.progress()), flush=True)  # ready
    for line in sys.stdin:
        print(json.dumps(answer(trainer, line)), flush=True)


def _train_every(
    seconds: float, trainer: Trainer, batch_size: int, iterations: int, redis_url: str, log: Path
) -> None:
    """Until SIGTERM."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    while not ending.is_set():
        try:
            if redis_url:
                receive(redis_url, log)
        except redis.RedisError as error:
            print(f"nothing new, since Redis is away: {error}", file=sys.stderr)
        print(json.dumps(trainer.train(batch_size, iterations)), flush=True)
        ending.wait(seconds)
    trainer.save()
    trainer.publish()


def main() -> None:
    """The command line."""
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
