"""How fast `/select_replica` is, beside a server that does nothing: the table of docs/serving.md.

    python -m marlserve.serving.agent.speed --seconds 5

wrk (of the package of that name) asks over 64 connections from one core; the agent, with a policy
of its own size and weights at random, runs on another one, and so does the same uvicorn with an
application that only answers. CPU times are of the server's process; decisions are timed by the
agent itself, from the moment that it has the headers of a request.
"""

import os
import re
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import tyro
from gymnasium.spaces import Box, Discrete

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import ANYONE, Network, PolicyFile
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.replica_state import features
from marlserve.serving.service import load

_REPLICAS, _CONNECTIONS = 3, 64
_SCRIPT = """wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"replica_loads": [5, 3, 7], "queue_depth": 12, "recent_latency_ms": 280.5,' ..
    '"current_rps": 8.2}'
"""
_NOTHING = """
import asyncio, sys, uvicorn, uvloop
async def app(scope, receive, send):
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})
config = uvicorn.Config(app, "127.0.0.1", int(sys.argv[1]), lifespan="off", access_log=False,
                        ws="none", server_header=False, proxy_headers=False, log_level="warning")
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(uvicorn.Server(config).serve())
"""


def policy() -> PolicyFile:
    """10-128-128-128-3."""
    rng, sizes = np.random.default_rng(0), [len(features(_REPLICAS)), 128, 128, 128, _REPLICAS]
    layers: list[Layer] = []
    weights, source = {}, "observation"
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        name = f"linear_{i}"
        layers.append(Layer(name, "linear", (source,), (outputs,)))
        weights[f"{name}.weight"] = rng.normal(0.0, 0.1, (outputs, inputs)).astype(np.float32)
        weights[f"{name}.bias"] = np.zeros(outputs, np.float32)
        source = f"relu_{i}"
        layers.append(Layer(source, "relu", (name,), (outputs,)))
    network = Network(
        Box(0.0, 1.0, (sizes[0],)),
        Discrete(_REPLICAS),
        tuple(layers[:-1]),
        weights,
        "action values",
        features=features(_REPLICAS),
    )
    return PolicyFile({"p": network}, {ANYONE: "p"})


def measured(command: list[str], port: int, ready: str, seconds: int, script: Path) -> list[str]:
    """Requests per second, p50 and p99 in ms, CPU microseconds per request; what it tells itself.

    Raises:
        ValueError: if the server does not start, or an answer is none.
    """
    at = f"http://127.0.0.1:{port}"
    with load.process(command, at + ready, core=0) as server:
        before_s = load.cpu_s(server.pid)
        said = load.wrk(f"{at}/select_replica", script, _CONNECTIONS, seconds, core=1)
        took_s = load.cpu_s(server.pid) - before_s
        told = urlopen(f"{at}/metrics").read().decode()
    shown = [f"{said.per_s:,.0f}", f"{said.p50_ms:.1f}", f"{said.p99_ms:.1f}"]
    return [*shown, f"{1e6 * took_s / said.requests:.0f}", _decisions(told)]


def _decisions(metrics: str) -> str:
    """How many of a hundred decisions took at most a millisecond; nothing if it does not tell."""
    found = dict(re.findall(r'decision_seconds_bucket{le="([^"]+)"} (\S+)', metrics))
    return f"{100 * float(found['0.001']) / float(found['+Inf']):.2f}" if found else ""


def main(seconds: int = 5, port: int = 5080) -> None:
    """Print the table.

    Args:
        seconds: for each server.
        port: of the first one; the other has the next.
    """
    with tempfile.TemporaryDirectory() as folder:
        PolicyStore(folder).publish(policy())
        script = Path(folder, "select.lua")
        script.write_text(_SCRIPT)
        given = {"MODEL_PATH": folder, "NUM_REPLICAS": str(_REPLICAS), "RL_TRAINER": "false"}
        os.environ.update(given)
        agent = [sys.executable, "-m", "marlserve.serving.agent", "--port", str(port)]
        nothing = [sys.executable, "-c", _NOTHING, str(port + 1)]
        print(
            "| server | req/s | p50, ms | p99, ms | CPU us per request | decided within 1 ms, % |"
        )
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for name, command, at, ready in (
            ("uvicorn that does nothing", nothing, port + 1, "/"),
            ("the agent", agent, port, "/ready"),
        ):
            row = measured(command, at, ready, seconds, script)
            print("|", " | ".join([name, *row]), "|", flush=True)


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
