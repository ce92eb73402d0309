"""The application: what is hot, and what holds for every route, before FastAPI has its turn.

Whoever has no token is turned away, if one is needed, and a body is read up to a limit.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from marlserve.serving.agent import bodies, routes
from marlserve.serving.agent.answers import Answers

MOST_BYTES = 1 << 20  # of a body
_OPEN = ("/health", "/ready")  # without a token
_JSON = [(b"content-type", b"application/json")]
_PLAIN: dict[str, Any] = {  # errors without what was sent, which may be no JSON
    "include_input": False,
    "include_context": False,
    "include_url": False,
}
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class App:
    """For any server that speaks ASGI.

    Attributes:
        is_ready: what `/ready` tells.
    """

    def __init__(self, answers: Answers, token: str = ""):
        self.is_ready = False
        self._answers, self._token = answers, token.encode()
        self._routes = routes.made(answers, lambda: self.is_ready)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        start_s, path = time.perf_counter(), scope["path"]
        if self._token and path not in _OPEN and not self._has_token(scope["headers"]):
            await _answer(send, 401, {"detail": "a token is needed: Authorization: Bearer ..."})
            return
        body = await _body(receive)
        if body is None:
            return
        if len(body) > MOST_BYTES:
            await _answer(send, 413, {"detail": f"a body has at most {MOST_BYTES} bytes"})
        elif path == routes.SELECT and scope["method"] == "POST":
            try:
                asked = bodies.Select.model_validate_json(body) if body else None
            except ValidationError as error:
                await _answer(send, 422, {"detail": error.errors(**_PLAIN)})
                return
            await _answer(send, 200, self._answers.selected(asked, start_s))
        else:
            await self._routes(scope, _given(body, receive), send)

    def _has_token(self, headers: list[tuple[bytes, bytes]]) -> bool:
        said = next((value for name, value in headers if name == b"authorization"), b"")
        return compare_digest(said, b"Bearer " + self._token)


async def _body(receive: Receive) -> bytes | None:
    """The body, or a bit more than is allowed; None if whoever sent it is gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    while message.get("more_body") and len(body) <= MOST_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
    return body


def _given(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _answer(send: Send, status: int, content: Any) -> None:
    body = to_json(content)
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": _JSON + length})
    await send({"type": "http.response.body", "body": body})
