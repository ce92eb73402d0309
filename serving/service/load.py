"""Processes of servers, and wrk that asks them: what the tables of speed are made with.

    with process([sys.executable, "-m", ...], "http://127.0.0.1:5080/ready", core=0) as server:
        before_s = cpu_s(server.pid)
        said = wrk("http://127.0.0.1:5080/select_replica", script, connections=64, seconds=5)
        (cpu_s(server.pid) - before_s) / said.requests

wrk is of the package of that name.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

_PATIENCE_S = 120.0
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


class Load(NamedTuple):
    """What wrk saw."""

    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float


@contextmanager
def process(
    command: Sequence[str],
    ready: str,
    core: int | None = None,
    variables: Mapping[str, str] | None = None,
    output: Path | None = None,
    says: str = "",
) -> Iterator[subprocess.Popen]:
    """A server, from when it answers at `ready` on.

    Args:
        core: of the machine, that it is bound to.
        variables: of its environment, beside those of this one.
        output: where its words go.
        says: what its answer has in it, once it is ready.

    Raises:
        ValueError: if it does not start.
    """
    bound = [] if core is None else ["taskset", "-c", str(core)]
    words = None if output is None else output.open("ab")
    try:
        with subprocess.Popen(
            [*bound, *command],
            env={**os.environ, **(variables or {})},
            stdout=words,
            stderr=None if words is None else subprocess.STDOUT,
        ) as server:
            try:
                _wait(ready, server, says.encode())
                yield server
            finally:
                server.terminate()
                try:
                    server.wait(10.0)
                except subprocess.TimeoutExpired:
                    server.kill()
    finally:
        if words is not None:
            words.close()


def wrk(url: str, script: Path, connections: int, seconds: float, core: int | None = None) -> Load:
    """Ask by a script in Lua, over so many connections.

    Raises:
        ValueError: if an answer is not 2xx, or there is none.
    """
    bound = [] if core is None else ["taskset", "-c", str(core)]
    command = [*bound, "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
    done = subprocess.run(
        [*command, "-s", str(script), url], text=True, capture_output=True, check=True
    )
    counts = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    late = [re.search(rf"{q}%\s+([\d.]+)(us|ms|s|m) *\n", done.stdout) for q in (50, 99)]
    if counts is None or rate is None or None in late or "Non-2xx" in done.stdout:
        raise ValueError(f"wrk says:\n{done.stdout}")
    p50_ms, p99_ms = (float(found[1]) * _MS[found[2]] for found in late if found)
    return Load(int(counts[1]), float(rate[1]), p50_ms, p99_ms)


def cpu_s(process: int) -> float:
    """Seconds of CPU time of a process and of those that it started and that still run."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    own_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return own_s + sum(map(cpu_s, map(int, children)))


def threads(process: int) -> dict[int, tuple[float, float]]:
    """Of a process and of those that it started and that still run, by thread: seconds that it ran,
    and seconds that it waited for a core."""
    found = {}
    for thread in Path(f"/proc/{process}/task").iterdir():
        ran_ns, waited_ns, _ = (thread / "schedstat").read_text().split()
        found[int(thread.name)] = int(ran_ns) / 1e9, int(waited_ns) / 1e9
        for child in (thread / "children").read_text().split():
            found |= threads(int(child))
    return found


def _wait(url: str, server: subprocess.Popen, says: bytes) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with urlopen(url, timeout=5.0) as answer:
                if says in answer.read():
                    return
            wrong: Exception = ValueError(f"it does not say {says!r}")
        except HTTPError as error:
            if error.code < 500 and not says:
                return
            wrong = error
        except OSError as error:
            wrong = error
        if server.poll() is not None:
            raise ValueError(f"{server.args!r} ended with {server.returncode}")
        if time.monotonic() > end_s:
            raise ValueError(f"{url} does not answer: {wrong}") from wrong
        time.sleep(0.1)
