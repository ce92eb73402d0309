"""Whether a request is answered at once or by the application: callers cannot tell."""

import asyncio
import json
import re

import pytest
from agent_client import EXPERIENCE, README, agent
from policies_to_serve import publish
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from marlserve.serving.decisions.modes import Mode
from marlserve.serving.service.at_once import AtOnce

ALL, TOKEN = Mode("policy", 1.0), b"authorization: Bearer secret\r\n"
BODY = json.dumps(README | {"time_of_day": 0.5}).encode()
BAD = BODY.replace(b"0.98", b"NaN")
LONG = BODY[:-1] + b" " * 100_000 + b"}"
TOO_LONG = BODY + b" " * (1 << 20)
LAST = b"connection: close\r\n"


def asking(body=BODY, headers=TOKEN, line=b"POST /select_replica HTTP/1.1") -> bytes:
    head = line + b"\r\nhost: x\r\ncontent-type: application/json\r\n" + headers
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    head, _ = asking(b"").split(b"content-length")
    parts = b"%x\r\n%b\r\n7\r\n%b\r\n0\r\n\r\n" % (len(body) - 7, body[:-7], body[-7:])
    return head + b"transfer-encoding: chunked\r\n\r\n" + parts


def recording(**changes) -> bytes:
    body = json.dumps(EXPERIENCE | changes).encode()
    return asking(body, line=b"POST /record_experience HTTP/1.1")


HEALTH = asking(b"", TOKEN, b"GET /health HTTP/1.1")
REQUESTS = {
    "sound": asking(),
    "empty": asking(b""),
    "chunked": chunked(BODY),
    "bad": asking(BAD),
    "no JSON": asking(b"{"),
    "long": asking(LONG),
    "too long": asking(TOO_LONG),
    "no token": asking(headers=b""),
    "wrong token": asking(headers=TOKEN.replace(b"secret", b"guess")),
    "goes on": asking(headers=TOKEN + b"expect: 100-continue\r\n"),
    "last": asking(headers=TOKEN + LAST) + asking(),
    "older": asking(line=b"POST /select_replica HTTP/1.0"),
    "query": asking(line=b"POST /select_replica?x=1 HTTP/1.1"),
    "quoted": asking(line=b"POST /select%5Freplica HTTP/1.1"),
    "elsewhere": asking(line=b"POST /select HTTP/1.1"),
    "GET": asking(b"", TOKEN, b"GET /select_replica HTTP/1.1"),
    "HEAD": asking(b"", TOKEN, b"HEAD /select_replica HTTP/1.1"),
    "OPTIONS": asking(b"", TOKEN, b"OPTIONS /select_replica HTTP/1.1"),
    "recorded": recording(),
    "recorded as text": recording().replace(b"application/json", b"text/plain"),
    "refused": recording(action=7),
    "unknown": recording(decision_id="none"),
    "no record": recording(success="perhaps"),
    "others between": asking() + HEALTH + asking() + recording() + HEALTH + asking(BAD),
}
AT_ONCE = ("sound", "empty", "chunked", "bad", "recorded")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    publish(folder)
    with agent(folder, mode=ALL, token="secret") as made:
        yield made


class Counting:
    """The application, and how often it was asked the usual way."""

    def __init__(self, app):
        self.app, self.times = app, 0
        self.at_once = app.at_once

    async def __call__(self, scope, receive, send):
        self.times += 1
        await self.app(scope, receive, send)


def answered(
    client, protocol, data: bytes, piece: int = 1 << 30, ends: bool = True, keep_alive_s: float = 60
) -> tuple[bytes, int]:
    """All that comes back for what is sent in pieces of so many bytes, but for ids and in which
    order FastAPI tells type and length; and how many requests the application had."""
    app = Counting(client.app)
    client.service.decider._random.seed(0)

    async def ask() -> bytes:
        config = Config(app, log_config=None, timeout_keep_alive=keep_alive_s)
        loop, state = asyncio.get_running_loop(), ServerState()
        made = lambda: protocol(config, state, {}, loop)  # noqa: E731
        server = await loop.create_server(made, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])
            await asyncio.sleep(0.0)
        if ends:
            writer.write(asking(b"", TOKEN + LAST, b"GET /ready HTTP/1.1"))
        found = await reader.read(-1)
        writer.close()
        server.close()
        return found

    found = client._runner.run(ask())
    found = re.sub(rb'"decision_id":"[^"]+"', b"", found)
    return re.sub(rb"(content-length: \d+\r\n)(content-type: .*\r\n)", rb"\2\1", found), app.times


@pytest.mark.parametrize("name", REQUESTS)
def test_both_ways_answer_alike(client, name):
    data = REQUESTS[name]
    usual, times = answered(client, HttpToolsProtocol, data)
    assert usual.startswith(b"HTTP/1.1 ")
    found, fewer = answered(client, AtOnce, data)
    assert found == usual
    assert fewer < times or name not in AT_ONCE


@pytest.mark.parametrize("piece", [1, 13, 200])
def test_what_comes_in_pieces(client, piece):
    data = REQUESTS["others between"] + REQUESTS["chunked"]
    whole, _ = answered(client, AtOnce, data)
    found, times = answered(client, AtOnce, data, piece)
    assert found == whole
    assert times <= 8  # which ones waited behind another one depends on when they came
    assert found.count(b"HTTP/1.1 200") == 7


def test_what_is_sound_is_answered_before_nonsense_ends_the_connection(client):
    found, _ = answered(client, AtOnce, asking() + b"nonsense\r\n\r\n")
    first, second = re.findall(rb"HTTP/1.1 (\d+)", found)
    assert (first, second) == (b"200", b"400")


def test_many_behind_one_and_nobody_reads(client):
    """They are all answered, neither from deep within each other nor without end in memory."""
    found, times = answered(client, AtOnce, HEALTH + 2_000 * asking())
    assert found.count(b"HTTP/1.1 200") == 2_002
    assert times > 2


def test_an_error_within_is_a_500(client, monkeypatch, caplog):
    def selected(asked, received_s):
        raise RuntimeError("within")

    monkeypatch.setattr(client.app._answers, "selected", selected)
    usual, _ = answered(client, HttpToolsProtocol, asking())
    assert usual.startswith(b"HTTP/1.1 500")
    assert answered(client, AtOnce, asking())[0] == usual
    assert caplog.text.count("asked once more") == 1


def test_an_outcome_is_recorded_once(client):
    decided = client.post("/select_replica", README, authorization="Bearer secret")
    identity = decided.body["decision_id"]
    found, times = answered(client, AtOnce, 2 * recording(decision_id=identity))
    assert re.findall(rb'"status":"(\w+)"', found) == [b"recorded", b"duplicate"]
    assert times == 1  # the last one, which ends it


def test_a_connection_that_is_idle_for_long_is_closed(client):
    found, times = answered(client, AtOnce, 2 * asking(), ends=False, keep_alive_s=0.05)
    assert (found.count(b"HTTP/1.1 200"), times) == (2, 0)
