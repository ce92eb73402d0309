"""A connection to a replica, HTTP/1.1, that is used for one request after another.

    connection = await connected("127.0.0.1", 8000)
    connection.send(request)                       # bytes, head and body
    head = await connection.head()                 # status and headers
    while chunk := await connection.chunk():       # bytes of the body, as they came
        ...

httptools, which is Node's parser, reads what comes. Clients that libraries offer do much more, and
take several times as long for a short request.
"""

import asyncio
import ssl
from typing import NamedTuple, cast

import httptools

Headers = list[tuple[bytes, bytes]]
_MOST_BYTES = 1 << 18  # that wait here, until no more is read
_MOST_HEADERS = 1 << 16  # bytes


class Head(NamedTuple):
    """What comes before a body; names are in lower case."""

    status: int
    headers: Headers


class Connection(asyncio.Protocol):
    """See the module.

    Attributes:
        is_open: whether it can take another request, once the answer to the last one is complete.
        is_complete: whether all of the answer is here; some may not have been taken yet.
        has_answer: whether anything of it came.
    """

    def __init__(self) -> None:
        self.is_open, self.is_complete, self.has_answer = True, True, False
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._head: Head | None = None
        self._headers: Headers = []
        self._headers_size = 0
        self._chunks: list[bytes] = []
        self._size = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = self._ends_with_connection = False

    def send(self, request: bytes) -> None:
        """Ask; the answer to the last request must be complete."""
        self._head, self._headers, self._chunks = None, [], []
        self.is_complete = self.has_answer = False
        self._headers_size = self._size = 0
        self._transport.write(request)

    async def head(self) -> Head:
        """Of the answer.

        Raises:
            ConnectionError: if the connection ends, or what comes is no HTTP.
        """
        while self._head is None:
            await self._more()
        return self._head

    async def chunk(self) -> bytes:
        """What has come of the body, and b"" after all of it; errors as of `head`."""
        while not self._chunks:
            if self.is_complete:
                return b""
            await self._more()
        found = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._size = [], 0
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
        return found

    async def rest(self, most_bytes: int = 1 << 24) -> bytes:
        """All that is to come of the body; errors as of `head`, and if it is longer."""
        parts, size = [], 0
        while chunk := await self.chunk():
            parts.append(chunk)
            size += len(chunk)
            if size > most_bytes:
                raise ConnectionError(f"the replica sends more than {most_bytes} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """End it, whatever is under way."""
        self.is_open = False
        self._transport.abort()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, why: str) -> None:
        self.is_open = False
        if not self.is_complete and self._error is None:
            self._error = ConnectionError(why)
        self._wake()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no common class

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._ends_with_connection and not self.is_complete:
            self.is_complete = True
        self._fail(f"the replica closed the connection ({exc or 'no error'})")

    def data_received(self, data: bytes) -> None:
        if self.is_complete:  # nobody asked
            self.close()
            return
        self.has_answer = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the replica does not speak HTTP: {error!r}")
            self.close()
        self._wake()

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_size += len(name) + len(value)
        if self._headers_size > _MOST_HEADERS:
            raise ValueError(f"headers have more than {_MOST_HEADERS} bytes")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # the answer comes later
            return
        self._head = Head(status, self._headers)
        names = {name for name, _ in self._headers}
        self._ends_with_connection = not names & {b"content-length", b"transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._size += len(body)
        if self._size > _MOST_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._head is None:
            self._headers, self._headers_size = [], 0
            return
        self.is_complete = True
        self.is_open = self.is_open and self._parser.should_keep_alive()


async def connected(host: str, port: int, tls: ssl.SSLContext | None = None) -> Connection:
    """A new one.

    Raises:
        OSError: if there is none to be had.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, host, port, ssl=tls)
    return connection
