"""An episode of `envs.load_balance` in real time: its traffic and its slow servers, all processes.

row = play(config, seed, Arrangement("leastconn"))

The jobs, their balancers and when which server is slow are those of the simulator's episode of that
seed. What flows took is measured from the attempt to connect to the last byte, and what of that the
server did not spend on them is the way: network, balancer, and clients and servers that are late.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from marlserve.envs.load_balance import Config, traffic
from marlserve.envs.sims.fairness import jain_index
from marlserve.experiments.testbed import backends, envoy, haproxy
from marlserve.experiments.testbed.balancer import Balancer
from marlserve.experiments.testbed.controllers import Controller
from marlserve.experiments.testbed.replay import replay

_SOON_S = 0.5  # from when everything runs to the first flow
_MOST_WEIGHT = 32  # as the controller has it


@dataclass(frozen=True)
class Arrangement:
    """How flows are balanced.

    Attributes:
        balance: of HAProxy, see `haproxy.BALANCES`, or "envoy"; with weights by cores.
        controller: flags of the controllers; None: there are none.
        slow_motion: seconds that pass for one of the problem's.
    """

    balance: str = "leastconn"
    controller: tuple[str, ...] | None = None
    slow_motion: float = 1.0


def play(config: Config, seed: int, arrangement: Arrangement) -> dict[str, float]:
    """One episode; the warm-up is left out of its metrics.

    In slow motion all of it is slower alike: arrivals, work, slow servers and the controllers'
    steps; what is measured is told in the problem's seconds. So a machine that has other things to
    do, and is late by milliseconds, is late by less.

    Returns:
        metrics of `load_balance`, and failed: flows without an answer; way_s and way_p99_s: what
        was not spent at the server; decision_s: mean time of a controller's step; late_steps.
    """
    scene = traffic.episode(config, np.random.default_rng(seed))
    jobs, slower = drawn(scene.traffic, config), arrangement.slow_motion
    measured: dict[str, float] = {}
    with TemporaryDirectory(prefix="testbed-") as folder, ExitStack() as stack:
        beneath, ports = stack.enter_context(servers(config))
        weights = [round(_MOST_WEIGHT * x / max(config.cores)) for x in config.cores]
        balancers: list[Balancer] = []
        controllers: list[Controller] = []
        for number in range(config.num_balancers):
            own = Path(folder) / str(number)
            own.mkdir()
            made = balancer(arrangement.balance, own, ports, weights)
            stack.enter_context(made)
            balancers.append(made)
            if arrangement.controller is not None:
                flags = (*arrangement.controller, "--slow-motion", str(slower))
                steering = Controller(made, config, number, flags)
                controllers.append(stack.enter_context(steering))
        begin_s = time.monotonic() + _SOON_S + slower * config.warm_up_s
        assert beneath.stdin is not None
        speeds = [(-config.warm_up_s, *of_server) for of_server in enumerate(scene.speeds.tolist())]
        changes = [(slower * x, server, speed) for x, server, speed in [*speeds, *scene.changes]]
        said = {"begin_s": begin_s, "changes": changes}
        beneath.stdin.write((json.dumps(said) + "\n").encode())
        beneath.stdin.flush()
        time_s, work_s, which, _ = jobs
        there = [x.port for x in balancers]
        flows = replay(slower * time_s, slower * work_s, which, there, begin_s)
        for name in ("sent_s", "latency_s", "spent_s"):
            flows[name] /= slower
        if controllers:
            measured = _of_controllers(controllers)
    return {"load": scene.load, **metrics(flows[time_s >= 0.0], config), **measured}


def balancer(balance: str, folder: Path, ports: list[int], weights: list[int]) -> Balancer:
    """That balances so; errors as of these."""
    if balance == "envoy":
        return envoy.Envoy(folder, ports, weights)
    return haproxy.HAProxy(folder, ports, balance, weights)


def drawn(arriving: traffic.Traffic, config: Config) -> tuple[np.ndarray, ...]:
    """All jobs of an episode, as of `Traffic.jobs`; the warm-up's have times below 0."""
    parts, step = [], -config.warm_up_steps
    while step < config.num_steps:
        jobs, step = arriving.draw()
        parts.append(jobs)
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def metrics(flows: np.ndarray, config: Config) -> dict[str, float]:
    """Of flows, as `load_balance` has them.

    Args:
        flows: `replay.FLOW`, [J].
    """
    done = flows[flows["status"] == 200]
    latency_s, way_s = done["latency_s"], done["latency_s"] - done["spent_s"]
    spent_s = np.bincount(done["server"], done["spent_s"], minlength=config.num_servers)
    return {
        "completed": float(len(done)),
        "rejected": float((flows["status"] == 503).sum()),
        "failed": float((~np.isin(flows["status"], (200, 503))).sum()),
        "mean_latency_s": float(latency_s.mean()),
        **{f"p{q}_latency_s": float(np.percentile(latency_s, q)) for q in (50, 90, 99)},
        # By Little's law, mean jobs are rate times mean time.
        "jain_index": float(jain_index(spent_s / np.asarray(config.cores))),
        "way_s": float(way_s.mean()),
        "way_p99_s": float(np.percentile(way_s, 99)),
    }


@contextmanager
def servers(config: Config) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """The process of the servers, and their ports."""
    command = [sys.executable, "-m", backends.__name__, "--cores", *map(str, config.cores)]
    for flag, value in (("running", config.max_running), ("backlog", config.max_backlog)):
        command += [] if value is None else [f"--max-{flag}", str(value)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def _of_controllers(controllers: list[Controller]) -> dict[str, float]:
    found = [controller.metrics() for controller in controllers]

    def total(name: str) -> float:
        return sum(sum(each[f"controller_{name}"].values()) for each in found)

    return {
        "decision_s": total("step_seconds_sum") / total("step_seconds_count"),
        "late_steps": total("late_steps_total"),
        "lost": total("lost"),
    }
