"""How many steps are learned from, by PPO on CartPole: of clients, and by what RLlib has instead.

    clients, 1; clients, 2    processes that hold a `client.agent.Agent`, behind a front
    RLlib's external runner   its server over TCP, with the one client that RLlib brings and that it
                              takes; it needs `pip install msgpack-numpy`
    Gymnasium inside RLlib    its own env runner, one environment in the learner's process

All learn with the same settings, those of `algorithms`, one side after the other. CPU time is that
of learner, front and clients together, without Ray's own processes.
"""

import multiprocessing
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.external.env_runner_server_for_external_inference import (
    EnvRunnerServerForExternalInference,
)
from ray.rllib.examples.envs.classes.utils.dummy_external_client import _dummy_external_client
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME as STEPS

from marlserve.policies import session
from marlserve.serving.client.held import Held
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.trainer.algorithms import config_of
from marlserve.serving.trainer.external import external
from marlserve.serving.trainer.front import Front, FrontSettings
from marlserve.serving.wire.program import Program

_ENV = "CartPole-v1"
_SEEN = Box(-np.inf, np.inf, (4,), np.float32)
_PLAYED: Discrete = Discrete(2)
_WARM_UP = 2  # iterations
_SPAWN = multiprocessing.get_context("spawn")


class Row(NamedTuple):
    """What one side does."""

    side: str
    steps_per_s: float
    steps_per_cpu_s: float
    return_mean: float


def _config() -> AlgorithmConfig:
    return config_of(Program("cartpole"))


def _live(address: str, seed: int) -> None:
    """A client's process."""
    settings = ClientSettings(address=address, policy="cartpole", when_full="wait", seed=seed)
    life = Held(settings)
    life.agent.wait_for_policy(600.0)
    while True:
        life.step()


@contextmanager
def _children(target: Callable[..., None], *arguments: tuple) -> Iterator[None]:
    """Processes, ended and waited for."""
    children: list[BaseProcess] = [
        _SPAWN.Process(target=target, args=each, daemon=True) for each in arguments
    ]
    for child in children:
        child.start()
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.join()


def _measured(side: str, config: AlgorithmConfig, seconds: float, clients: Any) -> Row:
    """What is learned from in so much time, after a warm-up."""
    own_s, children_s = _cpu_s()
    algorithm = config.build_algo()
    try:
        with clients:
            for _ in range(_WARM_UP):
                before = algorithm.train()[ENV_RUNNER_RESULTS][STEPS]
            start_s = time.monotonic()
            own_s = _cpu_s()[0]
            while (wall_s := time.monotonic() - start_s) < seconds:
                result = algorithm.train()[ENV_RUNNER_RESULTS]
    finally:
        algorithm.stop()
    # Children count once they have ended, their start included.
    cpu_s = _cpu_s()[0] - own_s + _cpu_s()[1] - children_s
    steps = result[STEPS] - before
    return Row(side, steps / wall_s, steps / cpu_s, float(result[EPISODE_RETURN_MEAN]))


def _cpu_s() -> tuple[float, float]:
    """Of this process, and of children that have ended."""
    every = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (used.ru_utime + used.ru_stime for used in every)
    return own, children


def of_clients(count: int, seconds: float) -> Row:
    """Processes that hold an agent each."""
    with Front(FrontSettings(address="127.0.0.1:0")) as front:
        config = external(_config(), front.learner_config, "cartpole", _SEEN, _PLAYED)
        clients = _children(_live, *((front.address, seed) for seed in range(count)))
        return _measured(f"clients, {count}", config, seconds, clients)


def of_rllib(seconds: float) -> Row:
    """RLlib's server and client."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    config = _config().environment(
        observation_space=_SEEN, action_space=_PLAYED, env_config={"port": port}
    )
    config.env_runners(env_runner_cls=EnvRunnerServerForExternalInference)
    clients = _children(_dummy_external_client, (port,))
    return _measured("RLlib's external runner", config, seconds, clients)


def inside_rllib(seconds: float) -> Row:
    """An environment in the learner's process."""
    return _measured(
        "Gymnasium inside RLlib", _config().environment(_ENV), seconds, _children(_live)
    )


def run(seconds: float) -> None:
    """Print a table.

    Args:
        seconds: for each side.

    Raises:
        ValueError: without what RLlib's external runner needs.
    """
    if find_spec("msgpack_numpy") is None:  # without it, RLlib's server waits for ever
        raise ValueError("there is no msgpack_numpy, which RLlib needs: pip install msgpack-numpy")
    torch.set_num_threads(1)
    session.start(1)
    rows = [
        of_clients(1, seconds),
        of_clients(2, seconds),
        of_rllib(seconds),
        inside_rllib(seconds),
    ]
    print("\n| | steps learned from per s | per CPU s | return by then |")
    print("| --- | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row.side} | {row.steps_per_s:,.0f} | {row.steps_per_cpu_s:,.0f} "
            f"| {row.return_mean:.0f} |"
        )
