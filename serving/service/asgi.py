"""The little of ASGI that hot routes need: a body up to a limit, a token, an answer in JSON."""

from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from typing import Any

from pydantic_core import to_json

Headers = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
OPEN = ("/health", "/ready")  # paths that need no token
JSON = (b"content-type", b"application/json")


async def body_of(receive: Receive, most_bytes: int) -> bytes | None:
    """The body, or a bit more than is allowed; None if whoever sent it is gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body") and size <= most_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return b"".join(parts)


def has_token(headers: Headers, token: bytes) -> bool:
    """Whether `Authorization: Bearer` and the token are among them."""
    said = next((value for name, value in headers if name == b"authorization"), b"")
    return compare_digest(said, b"Bearer " + token)


async def answer(send: Send, status: int, content: Any, headers: Headers | None = None) -> None:
    """JSON, as all of the answer."""
    body = to_json(content)
    told = [JSON, (b"content-length", b"%d" % len(body)), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})
