"""Whatever is sent to the gateway, it answers in OpenAI's form, and never with a 500 of its own."""

import asyncio
import json

import pytest
from gateway_client import CHAT, COMPLETIONS, run
from hypothesis import given, settings
from hypothesis import strategies as st

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=8), x, max_size=4)
)
KEYS = ("model", "prompt", "messages", "max_tokens", "stream", "prompt_cache_key", "url", "speed")
BODY = st.dictionaries(st.sampled_from(KEYS), JSON).map(json.dumps).map(str.encode)
REQUEST = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from([COMPLETIONS, CHAT, "/v1/models", "/replicas", "/health", "/metrics", "/"]),
    BODY | st.binary(max_size=40) | JSON.map(json.dumps).map(str.encode),
    st.text(st.characters(codec="latin-1", exclude_categories=["C"]), max_size=12).map(str.strip),
)
ALLOWED = {200, 400, 404, 405, 409, 422}


@pytest.fixture(scope="module")
def asked():
    """Asks a gateway that goes on from one example to the next."""
    requests: list = []
    answers: list = []

    async def play(world):
        for method, path, body, session in requests:
            given = {"x_session_id": session} if session.isascii() and session else {}
            answers.append(await world.ask(method, path, body, **given))

    def ask(several) -> list:
        requests[:], answers[:] = several, []
        run(play, 1)
        return answers

    return ask


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(REQUEST, min_size=1, max_size=12))
def test_nothing_breaks_it(asked, requests):
    for request, answer in zip(requests, asked(requests), strict=True):
        assert answer.status in ALLOWED, request
        if answer.status >= 400 and request[1] != "/health":
            assert answer.json["error"]["message"]


RAW = (
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{}",  # and no more
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}GARBAGE\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"GET /v1/models\r\n\r\n",
    b"\x00\xff\xfe" * 50,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
)


def test_what_is_no_http_reaches_no_replica():
    async def play(world):
        for data in RAW:
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            writer.write(data)
            writer.write_eof()
            said = await asyncio.wait_for(reader.read(), 20)
            assert b" 500 " not in said.partition(b"\r\n")[0]
            writer.close()
        assert (await world.complete(max_tokens=1)).status == 200
        bodies = [body for _, body in world.engines[0].seen]
        assert bodies in ([{}, bodies[-1]], [bodies[-1]])

    run(play, 1)
