"""What passing a short request on costs: the gateway beside other routers, in one run.

    python -m marlserve.serving.trials.overhead --seconds 4

wrk asks for a completion of a short prompt, over one connection and over 64; HAProxy answers for
three engines, on the core of wrk, and whoever stands between has the other core. CPU time is of its
process, so the rate that it would carry with a core to itself is one over that. The p50 at one
connection is the lowest of six windows of a second, as the machine may be busy with other
things; `added` is that less the same of asking an engine directly.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import tyro

from marlserve.serving.service.load import Load, cpu_s, process, wrk
from marlserve.serving.trials.others import Others, free_port

ENGINES, _CONNECTIONS = 3, 64
_WINDOWS, _WINDOW_S = 6, 1
_FRONT, _BACK = 0, 1  # cores
ANSWER = (
    '{"id":"cmpl-1","object":"text_completion","created":1,"model":"tiny","choices":[{"index":0,'
    '"text":" yes","finish_reason":"length"}],"usage":{"prompt_tokens":8,"completion_tokens":1}}'
)
_SCRIPT = """wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"model": "tiny", "prompt": "is this short enough, do you think?", "max_tokens": 1}'
"""
_ROUTERS = (
    *("haproxy roundrobin", "vllm round_robin", "vllm power_of_two", "vllm cache_aware"),
    *("sglang round_robin", "sglang cache_aware"),
)
_OURS = {
    "gateway least_requests": (),
    "gateway cache_aware": ("--heuristic", "cache_aware"),
    "gateway least_requests, logged": ("--log", "{folder}/experience.sqlite"),
}


@contextmanager
def _gateway(name: str, urls: list[str], folder: Path) -> Iterator[tuple[str, Popen]]:
    port = free_port()
    command = [sys.executable, "-m", "marlserve.serving.gateway", "--port", str(port)]
    flags = [flag.format(folder=folder) for flag in _OURS[name]]
    command += ["--replicas", *urls, "--mode", "heuristic", *flags]
    url = f"http://127.0.0.1:{port}"
    with process(command, f"{url}/ready", _FRONT) as started:
        yield url, started


class Cost(NamedTuple):
    """Of one who passes on."""

    alone_ms: float  # p50 over one connection
    busy: Load  # over many
    cpu_us: float  # of its process, for each request then


def asked(url: str, script: Path, seconds: float, process_id: int | None) -> Cost:
    """After a warm-up."""
    url += "/v1/completions"
    wrk(url, script, _CONNECTIONS, 1, _BACK)
    alone_ms = min(wrk(url, script, 1, _WINDOW_S, _BACK).p50_ms for _ in range(_WINDOWS))
    before_s = cpu_s(process_id) if process_id else 0.0
    busy = wrk(url, script, _CONNECTIONS, seconds, _BACK)
    took_s = cpu_s(process_id) - before_s if process_id else 0.0
    return Cost(alone_ms, busy, 1e6 * took_s / busy.requests)


def main(seconds: float = 4.0, others: Path = Path("build/others")) -> None:
    """Print the table.

    Args:
        seconds: over 64 connections.
        others: the virtual environment of the routers.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found, script = Others(others, folder), folder / "complete.lua"
        script.write_text(_SCRIPT)
        print("| | p50 at 1, ms | added, ms | req/s at 64 | p99, ms | CPU us | req/s per core |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        with found.answering(ENGINES, ANSWER, _BACK) as urls:
            direct = asked(urls[0], script, seconds, None)
            _show("an engine, directly", direct, direct)
            for router in (*_ROUTERS, *_OURS):
                front = (
                    _gateway(router, urls, folder)
                    if router in _OURS
                    else found.router(router, urls, _FRONT)
                )
                with front as (url, started):
                    _show(router, asked(url, script, seconds, started.pid), direct)


def _show(name: str, cost: Cost, direct: Cost) -> None:
    busy = cost.busy
    added = f"{cost.alone_ms - direct.alone_ms:.3f}" if cost.cpu_us else ""
    own = f"{cost.cpu_us:.0f} | {1e6 / cost.cpu_us:,.0f}" if cost.cpu_us else " | "
    told = f"{cost.alone_ms:.3f} | {added} | {busy.per_s:,.0f} | {busy.p99_ms:.1f} | {own}"
    print(f"| {name} | {told} |", flush=True)


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
