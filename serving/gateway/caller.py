"""Who asked: what is sent to them, and whether they are still there."""

import asyncio

from marlserve.serving.service.asgi import Headers, Receive, Send, answer

_KINDS = {401: "authentication_error", 429: "rate_limit_error"}


class Caller:
    """Of one request, whose body was read.

    Attributes:
        is_answered: whether an answer to them has begun.
        status: of the answer; 0 as long as there is none.
    """

    def __init__(self, receive: Receive, send: Send):
        self.status = 0
        self._receive, self._send = receive, send
        self._gone: asyncio.Task[None] | None = None
        self._waits: asyncio.Task | None = None

    def watch(self) -> None:
        """From now on, the present task is cancelled when they go."""
        self._waits = asyncio.current_task()
        self._gone = asyncio.create_task(self._is_gone())
        self._gone.add_done_callback(self._cancel)

    def has_gone(self) -> bool:
        """Whether they went while they were watched."""
        return self._gone is not None and self._gone.done() and not self._gone.cancelled()

    def stop_watching(self) -> None:
        """Nothing is cancelled any more."""
        if self._gone is not None and not self._gone.done():
            self._gone.remove_done_callback(self._cancel)
            self._gone.cancel()

    async def start(self, status: int, headers: Headers) -> None:
        """The head of an answer."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def give(self, chunk: bytes, is_last: bool) -> None:
        """Some of its body."""
        if is_last:
            self.stop_watching()
        more = not is_last
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def refuse(self, status: int, message: str) -> None:
        """An error of ours, in the form of OpenAI's."""
        self.stop_watching()
        self.status = status
        kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        error = {"message": message, "type": kind, "param": None, "code": status}
        await answer(self._send, status, {"error": error})

    async def _is_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _cancel(self, _: asyncio.Task) -> None:
        if self._waits is not None:
            self._waits.cancel()
