"""HAProxy as a data plane: its log tells what flows took, its runtime socket all else.

    global
        stats socket haproxy.sock level admin
        log 127.0.0.1:9514 format raw local0 info
    frontend flows
        http-request set-var(txn.began) date(0,us)
        log-format "%[var(txn.began)] %[date(0,us)] %s %ST %ts"

A flow is a request. Datagrams of the log are read by a thread, so that a slow step loses none.
Flows in progress are those of `show sess all`, the only command that tells when each began to the
microsecond; that is 2 kB of text for each. Their times are of the accepted connection, so clients
that keep connections open make them seem older (`option httpclose` in the frontend), and in local
time: HAProxy and the controller share a time zone.

`balance leastconn` sends a flow to the server of the least 256 (flows + 1) / weight, rounded down,
where a server without any flow counts as 0 whatever its weight, and of equal ones to that which has
been so for longest: measured, see tests/serving/test_haproxy.py. `sims.cluster` has it, without the
rounding and with ties at random, as `least_connections`. Of weights up to 256 the rounding leaves
whole flows; hence weights up to MOST_WEIGHT, where neither they nor the keys are coarse.
"""

import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from marlserve.serving.controller.data_plane import Flow, Seen, Unreachable

LOOPBACK = "127.0.0.1"
MOST_WEIGHT = 32
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SESSION = re.compile(
    r"^0x[0-9a-f]+: \[(\d+)/(\w+)/(\d+):(\d+):(\d+):(\d+)\.(\d+)\].*?^  backend=(\S+) .*?"
    r"^  server=(\S+) ",
    re.MULTILINE | re.DOTALL,
)
_LONGEST_S = 86_400.0
_DROPS = 8  # of the numbers of SO_MEMINFO
_SO_MEMINFO = 55  # which Python has no name for
_MOST_LINES = 1 << 18
_MOST_BYTES = 1 << 26  # of an answer


class HAProxy:
    """One process; see the module.

    Args:
        path: of the runtime socket, whose level is admin.
        servers: their names, in the order of the weights.
        backend: where they are.
        log_port: where its log comes to, on loopback.
        timeout_s: within which the runtime socket answers.

    Raises:
        OSError: if the port of the log is taken.
    """

    def __init__(
        self,
        path: str | Path,
        servers: Sequence[str],
        backend: str = "servers",
        log_port: int = 9514,
        timeout_s: float = 0.2,
    ):
        self._path, self._backend, self._timeout_s = str(path), backend, timeout_s
        self._servers = {name: index for index, name in enumerate(servers)}
        self._lines: deque[bytes] = deque()
        self._unread: Counter[str] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind((LOOPBACK, log_port))
        self._closing = False
        self._thread = threading.Thread(target=self._listen, name="log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> dict[str, int]:
        """Datagrams for which there was no room, and lines that say nothing that is known."""
        numbers = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
        return {"dropped": struct.unpack("9I", numbers)[_DROPS], **self._unread}

    def look(self) -> Seen:
        """See `DataPlane`."""
        text = self._ask("show sess all")
        now_s = time.time()
        completed: list[Flow] = []
        failed: list[Flow] = []
        for _ in range(len(self._lines)):
            line = self._lines.popleft()
            try:
                flow, is_good = self._flow(line)
            except (ValueError, KeyError):
                self._unread["garbled"] += 1
                continue
            if is_good is not None:
                (completed if is_good else failed).append(flow)
        return Seen(completed, failed, list(self._ongoing(text, now_s)), now_s)

    def apply(self, weights: np.ndarray) -> None:
        """See `DataPlane`. The largest weight is MOST_WEIGHT, the least that is not 0 is 1."""
        scaled = np.rint(weights / weights.max() * MOST_WEIGHT)
        whole = np.where(weights > 0.0, np.maximum(scaled, 1), 0).astype(int)
        commands = (
            f"set server {self._backend}/{name} weight {whole[index]}"
            for name, index in self._servers.items()
        )
        if said := self._ask(";".join(commands)).strip():
            raise Unreachable(f"HAProxy at {self._path} says: {said}")

    def close(self) -> None:
        """Listen no more."""
        self._closing = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._closing:
            line = self._socket.recv(4096)
            if len(self._lines) >= _MOST_LINES:  # as long as nobody looks
                self._unread["overflow"] += 1
            elif line:
                self._lines.append(line)

    def _flow(self, line: bytes) -> tuple[Flow, bool | None]:
        """What a line of the log tells, and whether the flow ended well; None: the client left."""
        began_us, ended_us, server, status, end = line.decode("ascii").split()
        duration_s = (int(ended_us) - int(began_us)) / 1e6
        if not 0.0 <= duration_s <= _LONGEST_S:
            raise ValueError(f"a flow of {duration_s} s")
        if int(status) >= 500 or end[0] not in "-C":
            index = self._servers.get(server, -1)  # -1: it came to none
            return Flow(index, int(began_us) / 1e6, duration_s), False
        good = True if end == "--" else None
        return Flow(self._servers[server], int(began_us) / 1e6, duration_s), good

    def _ongoing(self, text: str, now_s: float) -> Iterator[Flow]:
        """Flows in progress, of what `show sess all` says."""
        for day, month, year, *clock, backend, server in _SESSION.findall(text):
            if backend == self._backend and server in self._servers:
                hour, minute, second, micro = map(int, clock)
                date = int(year), _MONTHS.index(month) + 1, int(day)
                began_s = datetime(*date, hour, minute, second, micro).timestamp()
                yield Flow(self._servers[server], began_s, max(now_s - began_s, 0.0))

    def _ask(self, commands: str) -> str:
        """What the runtime socket says to them."""
        until_s, parts, size = time.monotonic() + self._timeout_s, [], 0
        try:
            with socket.socket(socket.AF_UNIX) as runtime:
                runtime.settimeout(self._timeout_s)
                runtime.connect(self._path)
                runtime.sendall(commands.encode() + b"\n")
                while part := runtime.recv(1 << 16):
                    parts.append(part)
                    size += len(part)
                    left_s = until_s - time.monotonic()
                    if left_s <= 0.0 or size > _MOST_BYTES:
                        raise TimeoutError(f"{size} bytes so far, and no end")
                    runtime.settimeout(left_s)
        except OSError as error:
            raise Unreachable(f"HAProxy at {self._path} does not answer: {error!r}") from error
        return b"".join(parts).decode("ascii", "replace")
