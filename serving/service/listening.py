"""How a service listens, and how its process ends: on SIGTERM it takes no more requests, answers
those that it has, and ends."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from marlserve.envs.checks import is_whole

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SWITCH_S = 5e-4  # that a request waits for at most while another thread has the interpreter
_MOST_AT_ONCE = 2_048  # connections; who comes then is told so, 503


def check(host: str, port: int, token: str) -> None:
    """Whether one may listen there.

    Raises:
        ValueError: if not.
    """
    if not is_whole(port, 1, 65_535):
        raise ValueError(f"port is {port}; allowed is 1 to 65535")
    if host not in LOOPBACK and not token:
        raise ValueError(f"host is {host}; beyond {LOOPBACK} RL_TOKEN must be set")


async def listen(
    app: Any,
    host: str,
    port: int,
    *,
    drain_s: int = 10,
    tells_date: bool = True,
    share_port: bool = False,
    protocol: type[asyncio.Protocol] = HttpToolsProtocol,
) -> None:
    """Answer until a signal comes.

    Args:
        drain_s: that requests under way are given to end.
        tells_date: whether answers get a Date; not those that have one already.
        share_port: with other processes that do so, too; the system spreads connections.
        protocol: of connections; `at_once.AtOnce` for an application that is `Quick`.

    Raises:
        OSError: if the port is not free.
    """
    gc.collect()
    gc.freeze()  # no decision waits while what is there for good is looked through
    config = uvicorn.Config(
        app,
        host,
        port,
        http=protocol,
        lifespan="off",
        ws="none",
        access_log=False,
        server_header=False,
        date_header=tells_date,
        proxy_headers=False,
        log_level="warning",
        limit_concurrency=_MOST_AT_ONCE,
        timeout_graceful_shutdown=drain_s,
    )
    sockets = [_shared(host, port)] if share_port else None
    await uvicorn.Server(config).serve(sockets)


def run(service: Coroutine[Any, Any, None]) -> None:
    """The process: on uvloop, with a log of its own."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.setswitchinterval(_SWITCH_S)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises it again as it ends: what runs beside it must end in order, too.
        signal.signal(number, lambda *_: sys.exit(0))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(service)


def _shared(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))
    return made
