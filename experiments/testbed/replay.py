"""Traffic, sent in real time: every flow has a connection of its own, to its balancer's port.

flows = replay(time_s, work_s, balancer, ports, begin_s)      # FLOW [J]
"""

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from marlserve.experiments.testbed.backends import HOST
from marlserve.experiments.testbed.event_loop import event_loop

FLOW = np.dtype(
    [(name, "f8") for name in ("sent_s", "latency_s", "spent_s")]  # spent: at the server
    + [("server", "i8"), ("status", "i8")]  # server -1: none said so; status 0: no answer
)
_PATIENCE_S = 120.0  # with flows that are under way after the last one was sent


def replay(
    time_s: np.ndarray,
    work_s: np.ndarray,
    balancer: np.ndarray,
    ports: Sequence[int],
    begin_s: float,
) -> np.ndarray:
    """Send all jobs, and wait for their answers.

    Args:
        time_s: when each is due after `begin_s`, sorted, [J].
        work_s: of each, [J].
        balancer: which of the ports it goes to, [J].
        begin_s: on the clock `time.monotonic`.

    Returns:
        FLOW [J], of which sent_s is after `begin_s`.
    """
    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(_replay(begin_s + time_s, work_s, balancer, ports, begin_s))


async def _replay(
    due_s: np.ndarray,
    work_s: np.ndarray,
    balancer: np.ndarray,
    ports: Sequence[int],
    begin_s: float,
) -> np.ndarray:
    loop, tasks = asyncio.get_running_loop(), []
    flows = np.zeros(len(due_s), FLOW)
    flows["server"] = -1
    for job, moment_s in enumerate(due_s):
        if (left_s := moment_s - time.monotonic()) > 0.0:
            await asyncio.sleep(left_s)
        request = b"GET /%.9f HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" % work_s[job]
        tasks.append(loop.create_task(_send(request, ports[balancer[job]], flows[job], begin_s)))
        if job % 64 == 63:
            await asyncio.sleep(0)  # in a crowd, those who answer come to their turn
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_PATIENCE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return flows


async def _send(request: bytes, port: int, flow: np.void, begin_s: float) -> None:
    loop = asyncio.get_running_loop()
    sent_s, answer = time.monotonic(), loop.create_future()
    flow["sent_s"] = sent_s - begin_s
    try:
        await loop.create_connection(lambda: _Flow(request, answer), HOST, port)
        read: bytes = await answer
    except OSError:
        flow["latency_s"] = time.monotonic() - sent_s
        return
    flow["latency_s"] = time.monotonic() - sent_s
    status, *headers = read.split(b"\r\n")
    flow["status"] = int(status.split(b" ", 2)[1])
    for header in headers:
        name, _, value = header.lower().partition(b": ")
        if name == b"x-server":
            flow["server"] = int(value)
        elif name == b"x-spent":
            flow["spent_s"] = float(value)


class _Flow(asyncio.Protocol):
    def __init__(self, request: bytes, answer: "asyncio.Future[bytes]"):
        self._request, self._answer, self._read = request, answer, b""

    def connection_made(self, transport):
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data):
        self._read += data
        if b"\r\n\r\n" in self._read and not self._answer.done():
            self._answer.set_result(self._read)
            self._transport.close()

    def connection_lost(self, error):
        if not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed without an answer"))
