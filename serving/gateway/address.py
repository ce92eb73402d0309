"""Where a replica is, and connections to it that are kept for the next request.

address = Address("http://127.0.0.1:8000")
connection, head = await address.asked("POST", b"/v1/completions", headers, body)
...                                            # see `connection`
address.give_back(connection)
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from marlserve.serving.gateway.connection import Connection, Head, connected

_MOST_IDLE = 256
_CONNECT_S = 2.0


class Addresses:
    """Of all replicas, by their names, which are URLs."""

    def __init__(self) -> None:
        self._known: dict[str, Address] = {}

    def __getitem__(self, name: str) -> "Address":
        """Errors as of `Address`."""
        if name not in self._known:
            self._known[name] = Address(name)
        return self._known[name]

    def keep(self, names: Collection[str]) -> None:
        """End what is idle of all others."""
        for name in self._known.keys() - set(names):
            self._known.pop(name).close()


class Address:
    """See the module.

    Raises:
        ValueError: for what is no http or https URL of a host.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        plain = parts.path == parts.query == parts.fragment == "" and parts.username is None
        if parts.scheme not in ("http", "https") or not (host and plain and self.url.isascii()):
            raise ValueError(f"replica is {url!r}; allowed is http://host:port, without a path")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host, self._port = host, port or (443 if self._tls else 80)
        self._name = parts.netloc.encode()
        self._idle: deque[Connection] = deque()

    async def asked(
        self,
        method: str,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> tuple[Connection, Head]:
        """The answer's head, and the connection that its body comes by.

        A connection that was idle may be closed at the other end while it is used; then another
        one is made.

        Raises:
            OSError: if the replica does not answer.
        """
        lines = [b"%s %s HTTP/1.1\r\nhost: %s" % (method.encode(), target, self._name)]
        lines += [b"%s: %s" % header for header in headers]
        if body or method == "POST":
            lines.append(b"content-length: %d" % len(body))
        request = b"\r\n".join([*lines, b"", body])
        while True:
            connection = self._idle_one()
            is_new = connection is None
            if connection is None:
                async with asyncio.timeout(_CONNECT_S):
                    connection = await connected(self._host, self._port, self._tls)
            try:
                connection.send(request)
                return connection, await connection.head()
            except ConnectionError:
                connection.close()
                if is_new or connection.has_answer:
                    raise
            except BaseException:  # cancelled: nobody waits for the rest
                connection.close()
                raise

    def give_back(self, connection: Connection) -> None:
        """It is kept, if it can take another request."""
        if connection.is_open and connection.is_complete and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """End what is idle."""
        while self._idle:
            self._idle.pop().close()

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()  # the latest one, so that the others may end
            if connection.is_open:
                return connection
        return None
