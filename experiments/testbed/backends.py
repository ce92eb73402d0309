"""Servers whose cores are shared by their jobs, in virtual time: no core is really busy.

    python -m marlserve.experiments.testbed.backends --cores 2 2 4

It prints a line of JSON, the ports, and reads one, {"begin_s": ..., "changes": [[time_s, server,
speed], ...]}: when on the clock `time.monotonic` the changes' time 0 is. A request has its work in
its path, seconds on one core of speed 1, GET /0.024, and is answered when the server of
`sims.cluster` would have done it. The answer's headers say which server that was and what time the
flow spent there; whatever else the client measures is the way. A server that is full answers 503.
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence

import tyro

from marlserve.experiments.benchmarks.reference_cluster import Server
from marlserve.experiments.testbed.event_loop import event_loop

HOST = "127.0.0.1"
_ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Server: {}\r\nX-Spent: {:.6f}\r\n\r\n"
_FULL = b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n"


class Backend:
    """One server, and whom it answers.

    Args:
        number: its index, as its answers tell.
    """

    def __init__(self, number: int, cores: float, max_running: float, max_backlog: float):
        self._number, self._loop = number, asyncio.get_running_loop()
        self._server = Server(cores)
        self._max_running, self._max_backlog = max_running, max_backlog
        self._jobs: dict[int, tuple[asyncio.Transport, float, float]] = {}
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def connected(self) -> asyncio.Protocol:
        return _Connection(self)

    def take(self, transport: asyncio.Transport, work_s: float) -> None:
        """A job arrives."""
        now_s, server = time.monotonic(), self._server
        self._finish(now_s)
        job, self._next = self._next, self._next + 1
        if len(server.running) < self._max_running:
            server.update(now_s)
            server.start(job, work_s)
        elif len(server.backlog) < self._max_backlog:
            server.backlog.append(job)
        else:
            transport.write(_FULL)
            return
        self._jobs[job] = transport, now_s, work_s
        self._wait()

    def turn(self, speed: float) -> None:
        """The server has another speed from now on."""
        now_s = time.monotonic()
        self._finish(now_s)
        self._server.update(now_s)
        self._server.speed = speed
        self._wait()

    def _done(self) -> None:
        self._finish(time.monotonic())
        self._wait()

    def _finish(self, now_s: float) -> None:
        """Answer all that are done by now, each at the time when it was."""
        server = self._server
        while (done_s := server.next_done_s()) <= now_s:
            server.update(done_s)
            transport, arrived_s, _ = self._jobs.pop(server.finish())
            answer = _ANSWER.format(self._number, done_s - arrived_s)
            transport.write(answer.encode())
            if server.backlog:
                waiting = server.backlog.popleft()
                server.start(waiting, self._jobs[waiting][2])

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        done_s = self._server.next_done_s()
        self._timer = None
        if done_s < math.inf:
            left_s = max(done_s - time.monotonic(), 0.0)
            self._timer = self._loop.call_later(left_s, self._done)


class _Connection(asyncio.Protocol):
    def __init__(self, backend: Backend):
        self._backend = backend
        self._read = b""

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        self._read += data
        while b"\r\n\r\n" in self._read:
            request, _, self._read = self._read.partition(b"\r\n\r\n")
            work_s = float(request.split(b" ", 2)[1].lstrip(b"/"))
            self._backend.take(self._transport, work_s)


async def serve(
    cores: Sequence[float], max_running: int | None = None, max_backlog: int | None = None
) -> None:
    """Until the end of the input."""
    loop, ports, backends = asyncio.get_running_loop(), [], []
    limits = (math.inf if x is None else x for x in (max_running, max_backlog))
    running, backlog = limits
    for number, count in enumerate(cores):
        backend = Backend(number, count, running, backlog)
        listening = await loop.create_server(backend.connected, HOST, 0, backlog=1024)
        ports.append(listening.sockets[0].getsockname()[1])
        backends.append(backend)
    print(json.dumps(ports), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        said = json.loads(line)
        for time_s, number, speed in said["changes"]:
            left_s = max(said["begin_s"] + time_s - time.monotonic(), 0.0)
            loop.call_later(left_s, backends[number].turn, speed)


def main(
    cores: tuple[float, ...], max_running: int | None = None, max_backlog: int | None = None
) -> None:
    """Serve.

    Args:
        cores: of each server.
        max_running: most jobs that share a server's cores.
        max_backlog: most that wait at a server.
    """
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(serve(cores, max_running, max_backlog))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
