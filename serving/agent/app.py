"""The application: what is hot, and what holds for every route, before FastAPI has its turn.

Whoever has no token is turned away, if one is needed, and a body is read up to a limit.
"""

import time
from typing import Any

from pydantic import ValidationError

from marlserve.serving.agent import bodies, routes
from marlserve.serving.agent.answers import Answers
from marlserve.serving.service.asgi import (
    JSON,
    OPEN,
    Headers,
    Message,
    Receive,
    Send,
    answer,
    body_of,
    has_token,
)
from marlserve.serving.service.at_once import Answer, Reply

MOST_BYTES = 1 << 20  # of a body
_SELECT, _RECORD = routes.SELECT.encode(), routes.RECORD.encode()
_PLAIN: dict[str, Any] = {  # errors without what was sent, which may be no JSON
    "include_input": False,
    "include_context": False,
    "include_url": False,
}


class App:
    """For any server that speaks ASGI; a `Quick` one.

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
        if self._token and path not in OPEN and not has_token(scope["headers"], self._token):
            await answer(send, 401, {"detail": "a token is needed: Authorization: Bearer ..."})
            return
        body = await body_of(receive, MOST_BYTES)
        if body is None:
            return
        if len(body) > MOST_BYTES:
            await answer(send, 413, {"detail": f"a body has at most {MOST_BYTES} bytes"})
        elif path == routes.SELECT and scope["method"] == "POST":
            await answer(send, *self._selected(body, start_s))
        else:
            await self._routes(scope, _given(body, receive), send)

    def at_once(self, method: bytes, url: bytes, headers: Headers) -> Answer | None:
        """What answers requests that are hot: to select, or to record, as JSON."""
        if method != b"POST" or (self._token and not has_token(headers, self._token)):
            return None
        if url == _SELECT:
            return self._selected
        return self._recorded if url == _RECORD and JSON in headers else None

    def _selected(self, body: bytes, since_s: float) -> Reply:
        try:
            asked = bodies.Select.model_validate_json(body) if body else None
        except ValidationError as error:
            return Reply(422, {"detail": error.errors(**_PLAIN)})
        return Reply(200, self._answers.selected(asked, since_s))

    def _recorded(self, body: bytes, since_s: float) -> Reply | None:
        """None for what is wrong, which the routes tell, and for what takes a look into the log."""
        try:
            told = self._answers.recorded_at_once(bodies.Record.model_validate_json(body))
        except ValueError:
            return None
        return None if told is None else Reply(200, told)


def _given(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
