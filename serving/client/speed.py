"""What a client costs the program that holds it, beside the same loop without it.

    python -m marlserve.serving.client.speed --seconds 60
    python -m marlserve.serving.client.speed --seconds 60 --task lander

CartPole's loop, or the lander's, with a trainer that learns by PPO in other processes meanwhile:

    no policy             the same action always
    inference alone       a policy file, evaluated and drawn from, and nothing kept
    client, send 1        all of it: decisions, steps, rewards, and sending every fragment at once,
    client, send 3, ...   or several together

The sides take turns, 200 steps each, in one thread of one process, so that they have the same share
of a busy machine. CPU time is that of the thread that calls, for a step: the median of all turns,
and the turn that took least, in which nothing else disturbed it. `more than` compares the medians
with those of the two sides without a client, and the last line says what clients take beside
inference; `senders` are their other threads. Decisions are timed by the clock, waiting for the
processor included.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import tyro

from marlserve.serving.client.agent import Agent
from marlserve.serving.client.bare import Task, nobody
from marlserve.serving.client.playing import Playing
from marlserve.serving.client.settings import ClientSettings

_BLOCK = 200  # steps
_SEND_FREQUENCIES = (1, 3, 5, 10)
_PATIENCE_S = 180.0
_TASKS = {"cartpole": ("CartPole-v1", 4, 2), "lander": ("LunarLander-v3", 8, 4)}


@dataclass
class Side:
    """One way to go through the loop.

    Attributes:
        task: of Gymnasium.
        act: what to do, and whom to tell the reward.
        agent: whom to tell how episodes end.
        cpu_us: of the calling thread per step, one for each block.
        times_us: of decisions.
    """

    name: str
    task: str
    act: Callable[[np.ndarray], tuple[Any, Callable[[float], object]]]
    agent: Agent | None = None
    cpu_us: list[float] = field(default_factory=list)
    times_us: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._env = Task(0, self.task)
        self._end = nobody if self.agent is None else self.agent.end

    def block(self) -> None:
        """So many steps."""
        start_s = time.thread_time()
        for _ in range(_BLOCK):
            asked_s = time.perf_counter()
            action, tell = self.act(self._env.seen)
            self.times_us.append(1e6 * (time.perf_counter() - asked_s))
            self._env.step(action, tell, self._end)
        self.cpu_us.append(1e6 * (time.thread_time() - start_s) / _BLOCK)


@contextmanager
def trainer(task: str) -> Iterator[str]:
    """The address of one that learns, in processes of its own."""
    with TemporaryDirectory() as folder, socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
        found.close()
        config = Path(folder) / "program.json"
        _, observed, actions = _TASKS[task]
        parameters = {"input_size": observed, "act_dim": actions}
        said = {"client_id": task, "train_server_address": address, "folder": f"{folder}/run"}
        config.write_text(json.dumps(said | {"algorithm_parameters": parameters}))
        command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield address
        finally:
            process.terminate()
            process.wait()


def asking(agent: Agent) -> Callable[[np.ndarray], tuple[Any, Callable[[float], object]]]:
    """All that a client does."""

    def act(seen: np.ndarray) -> tuple[Any, Callable[[float], object]]:
        decision = agent.act(seen)
        return decision.action, decision.reward

    return act


def inferring(agent: Agent) -> Callable[[np.ndarray], tuple[int, Callable[[float], object]]]:
    """By the policies that another client receives."""
    random = Random(0)

    def act(seen: np.ndarray) -> tuple[int, Callable[[float], object]]:
        newest = agent.link.newest
        assert isinstance(newest, Playing)
        return newest.choose("agent", seen, None, None, random).told, nobody

    return act


def run(seconds: float = 60.0, task: Literal["cartpole", "lander"] = "cartpole") -> None:
    """Measure, and print a table.

    Args:
        seconds: of all sides together, once there is a policy.
        task: whose loop it is.
    """
    if not 0.0 < seconds <= 36_000.0:
        raise ValueError(f"seconds is {seconds}; allowed is a positive number, at most 36000")
    with ExitStack() as stack:
        address = stack.enter_context(trainer(task))
        agents = {
            frequency: stack.enter_context(
                Agent(ClientSettings(address=address, policy=task, send_frequency=frequency))
            )
            for frequency in _SEND_FREQUENCIES
        }
        for agent in agents.values():
            if not agent.wait_for_policy(_PATIENCE_S):
                raise ValueError(f"there is no policy after {_PATIENCE_S:g} s")
        name = _TASKS[task][0]
        sides = [
            Side("no policy", name, lambda seen: (0, nobody)),
            Side("inference alone", name, inferring(agents[1])),
            *(Side(f"client, send {n}", name, asking(each), each) for n, each in agents.items()),
        ]
        for side in sides:
            side.block()  # a warm-up
            side.cpu_us.clear()
            side.times_us.clear()
        start_s, all_s, mine_s = time.monotonic(), time.process_time(), time.thread_time()
        while time.monotonic() - start_s < seconds:
            for side in sides:
                side.block()
        mine_s = time.thread_time() - mine_s
        others_s = time.process_time() - all_s - mine_s
        _show(sides, others_s)


def _show(sides: list[Side], others_s: float) -> None:
    print(
        "\n| | CPU us per step | the least | more than no policy, % | than inference, % "
        "| decision us: mean | p50 | p99 | p99.9 | max | lost, % |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    bare_us, inference_us = (float(np.median(side.cpu_us)) for side in sides[:2])
    for side in sides:
        times_us, agent, cpu_us = np.array(side.times_us), side.agent, np.median(side.cpu_us)
        lost = ""
        if agent is not None:
            lost = f"{100.0 * agent.outbox.lost.total() / agent.books.last_id:.1f}"
        p50, p99, p999 = np.percentile(times_us, [50, 99, 99.9])
        print(
            f"| {side.name} | {cpu_us:.1f} | {min(side.cpu_us):.1f} "
            f"| {100.0 * (cpu_us / bare_us - 1.0):.0f} "
            f"| {100.0 * (cpu_us / inference_us - 1.0):.0f} | {times_us.mean():.1f} | {p50:.1f} "
            f"| {p99:.1f} | {p999:.1f} | {times_us.max():,.0f} | {lost} |"
        )
    inference, clients = sides[1], sides[2:]
    each = _BLOCK * len(inference.cpu_us)
    turns_us = np.array([side.cpu_us for side in clients])
    own_us = np.median(turns_us) - inference_us
    least_us = turns_us.min() - min(inference.cpu_us)
    print(
        f"\n{each:,} steps of each; beside inference {own_us:.1f} us, {least_us:.1f} us by the "
        f"least; senders {1e6 * others_s / (each * len(clients)):.1f} us"
    )


if __name__ == "__main__":
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
