"""HTTP as replicas may speak it, well or badly: whole answers are taken, all others are errors."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from marlserve.serving.gateway.address import Address

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = {
    "length": OK + b"Content-Length: 5\r\n\r\nhello",
    "chunks": OK
    + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\nt: 1\r\n\r\n",
    "until it closes": OK + b"content-type: text/plain\r\n\r\nhello",
    "says that it will close": OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
    "of version 1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "after a continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello",
    "with more than was asked for": OK + b"content-length: 5\r\n\r\nhello" + OK + b"\r\n",
}
BROKEN = {
    "nothing": b"",
    "no HTTP": b"220 smtp.example ESMTP\r\n",
    "half of a head": OK + b"content-le",
    "less than its length": OK + b"content-length: 50\r\n\r\nhello",
    "chunks that do not end": OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "a bad chunk": OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "a head without end": OK + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 999) for i in range(99)),
}


def served(answer: bytes, ask: Callable[[Address], Awaitable[Any]], closes: bool = True) -> Any:
    """What asking gives, of a server that says this to whatever it is asked; how often it was."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            asked += 1
            for i in range(0, len(answer), 7):  # in pieces
                writer.write(answer[i : i + 7])
                await writer.drain()
            if closes:
                break
        writer.close()

    async def play() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, asyncio.timeout(30):
            return await ask(Address(f"http://127.0.0.1:{port}")), asked

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(play())


async def one(address: Address) -> bytes:
    connection, head = await address.asked("GET", b"/")
    assert head.status == 200
    assert all(name == name.lower() for name, _ in head.headers)
    body = await connection.rest()
    address.give_back(connection)
    return body


async def three(address: Address) -> list[bytes]:
    found = [await one(address) for _ in range(3)]
    address.close()
    return found


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_answer_is_taken(kind):
    assert served(WHOLE[kind], one) == (b"hello", 1)


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_not_whole_is_an_error(kind):
    with pytest.raises(ConnectionError):
        served(BROKEN[kind], one)


@pytest.mark.parametrize("closes", [True, False])
def test_a_connection_is_used_again_if_it_can_be(closes):
    """Also where it was closed at the other end meanwhile, and nobody knew."""
    assert served(WHOLE["length"], three, closes) == ([b"hello"] * 3, 3)


def test_nobody_listens():
    with pytest.raises(OSError, match="Connect call failed|refused"):
        asyncio.run(one(Address("http://127.0.0.1:1")))


def test_a_long_body_waits_until_it_is_taken():
    """What is not read yet stays with the sender, but for a bounded part."""
    size = 4 << 20
    most = 0

    async def ask(address: Address) -> int:
        nonlocal most
        connection, _ = await address.asked("GET", b"/")
        total = 0
        await asyncio.sleep(0.3)  # meanwhile more comes than is kept
        while chunk := await connection.chunk():
            most = max(most, len(chunk))
            total += len(chunk)
            await asyncio.sleep(0)
        return total

    async def serve(reader, writer) -> None:
        await reader.readline()
        writer.write(OK + b"content-length: %d\r\n\r\n" % size + bytes(size))
        await writer.drain()
        writer.close()

    async def play() -> int:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, asyncio.timeout(30):
            return await ask(Address(f"http://127.0.0.1:{port}"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(play()) == size
    assert most < size / 4
