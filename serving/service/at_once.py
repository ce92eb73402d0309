"""Connections on which some requests are answered at once, without a task for each.

    uvicorn.Config(app, http=AtOnce)        # of an application that is a `Quick`

All else is uvicorn's, as ever: it parses, limits, times connections out and shuts down. A request
takes the usual way through the application if that does not take it at once, and also if it is
longer than uvicorn reads ahead, asks whether to go on, is to be the last of its connection, waits
behind another one, or comes while there are too many connections, and if its caller does not read
what was answered before.
"""

import time
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, Protocol, cast

from pydantic_core import to_json
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from marlserve.serving.service.asgi import Headers, Message, Receive, Send


class Reply(NamedTuple):
    """All of an answer; `content` is sent as JSON."""

    status: int
    content: Any


# Answers by the body, and by when the request came, on the clock of `time.perf_counter`; None if
# it would have to wait for something, and then nothing has been changed.
Answer = Callable[[bytes, float], Reply | None]


class Quick(Protocol):
    """An application that speaks ASGI, and answers some requests at once."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None: ...

    def at_once(self, method: bytes, url: bytes, headers: Headers) -> Answer | None:
        """What answers such requests; None: they take the usual way."""
        ...


class AtOnce(HttpToolsProtocol):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._quick = cast(Quick, self.config.app)
        self._answer: Answer | None = None  # to the request that is under way
        self._body, self._since_s = bytearray(), 0.0
        self._idle_since_s, self._is_watched = inf, False  # inf: it is not, or uvicorn sees to it

    def on_message_begin(self) -> None:
        self._idle_since_s = inf
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        parser = self.parser
        if self._is_free() and parser.should_keep_alive() and not parser.should_upgrade():
            self._answer = self._quick.at_once(parser.get_method(), self.url, self.headers)
            self._body, self._since_s = bytearray(), time.perf_counter()
        if self._answer is None:
            self._begin()

    def on_body(self, body: bytes) -> None:
        if self._answer is None:
            super().on_body(body)
            return
        self._body += body
        if len(self._body) > HIGH_WATER_LIMIT:
            self._take_usual_way()

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._could_answer(self._answer):
            self._take_usual_way()
        if self._answer is None:
            super().on_message_complete()
        self._answer = None

    def shutdown(self) -> None:
        if self._answer is not None:
            self._take_usual_way()  # which ends the connection after it
        super().shutdown()

    def _is_free(self) -> bool:
        """Whether this request is the only one, and its caller waits for nothing but the answer."""
        most = self.limit_concurrency
        is_last = self.cycle is None or self.cycle.response_complete
        is_free = is_last and not (self.expect_100_continue or self.flow.write_paused)
        return is_free and (most is None or len(self.connections) < most)

    def _begin(self) -> None:
        """What uvicorn does as a request begins, once its headers are there."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _take_usual_way(self) -> None:
        """With what is there of the request that is under way."""
        self._answer = None
        self._begin()
        super().on_body(bytes(self._body))

    def _could_answer(self, answer: Answer) -> bool:
        """Answer now; false if that cannot be."""
        if self.transport.is_closing():
            return True  # there is nobody any more
        try:
            reply = answer(bytes(self._body), self._since_s)
            body = to_json(reply.content) if reply is not None else b""
        except Exception:
            self.logger.exception("The application is asked once more, the usual way")
            reply = None
        if reply is None:
            return False
        parts = [STATUS_LINE[reply.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        parts.append(body)
        self.transport.write(b"".join(parts))
        self.server_state.total_requests += 1
        self._idle_since_s = self.loop.time()
        if not self._is_watched:
            self._look_again(self.timeout_keep_alive)
        return True

    def _look_again(self, after_s: float) -> None:
        """One timer for many answers: a new one for each takes a tenth of the time of an answer."""
        self._is_watched = True
        self.loop.call_later(after_s, self._look)

    def _look(self) -> None:
        """Whether the connection has been idle for long."""
        self._is_watched = False
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0.0:
            self.timeout_keep_alive_handler()
        elif left_s < inf and not self.transport.is_closing():
            self._look_again(left_s)
