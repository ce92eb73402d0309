"""The routes, for any server that speaks ASGI.

| route | |
| --- | --- |
| POST /v1/completions, /v1/chat/completions | decided on, and passed on |
| GET /v1/models | what any replica answers |
| GET /replicas; POST, DELETE with {"url": ...} | which there are; one more; one that goes |
| GET /health, /ready, /metrics | whether it lives, takes requests; for Prometheus |

A session is named by the header x-session-id, or by `prompt_cache_key` in the body.
"""

import asyncio
from typing import Any

from pydantic_core import from_json

from marlserve.serving.gateway.attempts import clock
from marlserve.serving.gateway.caller import Caller
from marlserve.serving.gateway.fleet import IsThere
from marlserve.serving.gateway.forwarding import Asked
from marlserve.serving.gateway.gateway import Gateway
from marlserve.serving.gateway.metrics import Metrics
from marlserve.serving.gateway.prompts import prompt_of
from marlserve.serving.service.asgi import (
    JSON,
    OPEN,
    Message,
    Receive,
    Send,
    answer,
    body_of,
    has_token,
)

_COMPLETIONS = ("/v1/completions", "/v1/chat/completions")
_METHODS = {
    **dict.fromkeys(_COMPLETIONS, ("POST",)),
    **dict.fromkeys(("/v1/models", "/health", "/ready", "/metrics"), ("GET",)),
    "/replicas": ("GET", "POST", "DELETE"),
}
_MOST_SESSION = 256  # characters of its name that count
_TEXT = (b"content-type", b"text/plain; version=0.0.4")


class App:
    """Of one gateway.

    Attributes:
        is_ready: what /ready tells.
    """

    def __init__(self, gateway: Gateway):
        self.gateway, self.is_ready = gateway, False
        self._metrics, self._token = Metrics(gateway), gateway.tokens.callers.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"scope is {scope['type']!r}; allowed is 'http'")
        caller, counts = Caller(receive, send), self.gateway.measures.answers
        try:
            await self._answer(scope, caller, receive, send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not caller.has_gone() or task is None:
                raise
            task.uncancel()
        finally:
            caller.stop_watching()
            counts[str(caller.status)] += 1

    async def _answer(self, scope: Message, caller: Caller, receive: Receive, send: Send) -> None:
        path, method, headers = scope["path"], scope["method"], scope["headers"]
        if self._token and path not in OPEN and not has_token(headers, self._token):
            await caller.refuse(401, "a token is needed: Authorization: Bearer ...")
            return
        if path not in _METHODS:
            await caller.refuse(404, "there is no such route")
            return
        if method not in _METHODS[path]:
            await caller.refuse(405, f"allowed is {' or '.join(_METHODS[path])}")
            return
        body = await body_of(receive, self.gateway.settings.most_bytes)
        if body is None:
            return
        if len(body) > self.gateway.settings.most_bytes:
            await caller.refuse(413, f"a body has at most {self.gateway.settings.most_mib} MiB")
        elif path in _COMPLETIONS:
            await self._complete(scope, body, caller)
        elif path == "/v1/models":
            caller.watch()
            await self.gateway.forwarding.ask_any(_asked(scope), caller)
        elif path == "/replicas" and method != "GET" and JSON not in headers:
            # A page of another site can make a browser send text, but not this without asking.
            await caller.refuse(415, "expected is content-type: application/json")
        elif path == "/replicas":
            await self._replicas(method, body, caller, send)
        else:
            await self._tell(path, caller, send)

    async def _complete(self, scope: Message, body: bytes, caller: Caller) -> None:
        said = _object(body)
        if said is None:
            await caller.refuse(400, "the body is no JSON object")
            return
        prompt = prompt_of(said, self.gateway.attempts.tokens_per_byte.value)
        asked = _asked(scope)._replace(body=body, prompt=prompt, session=_session(scope, said))
        caller.watch()
        await self.gateway.forwarding.complete(asked, caller)

    async def _replicas(self, method: str, body: bytes, caller: Caller, send: Send) -> None:
        fleet = self.gateway.fleet
        if method != "GET":
            said = _object(body) or {}
            url, speed = said.get("url"), said.get("speed", 0.0)
            is_speed = isinstance(speed, int | float) and 0.0 <= speed <= 100.0
            if not (isinstance(url, str) and is_speed):
                await caller.refuse(422, 'expected is {"url": "http://host:port", "speed": 1.0}')
                return
            try:
                if method == "POST":
                    fleet.add(self.gateway.addresses[url].url, float(speed))
                else:
                    fleet.drain(url.rstrip("/"))
            except ValueError as error:
                await caller.refuse(409 if isinstance(error, IsThere) else 422, str(error))
                return
        now_s, caller.status = clock(), 200
        found = [
            {
                "url": replica.name,
                "available": replica.is_available(now_s),
                "up": replica.is_up,
                "draining": replica.is_draining,
                "ejected": now_s < replica.ejected_until_s,
                "requests": replica.requests,
            }
            for replica in fleet.replicas
        ]
        await answer(send, 200, {"replicas": found})

    async def _tell(self, path: str, caller: Caller, send: Send) -> None:
        if path == "/metrics":
            text = self._metrics.text()
            await caller.start(200, [_TEXT, (b"content-length", b"%d" % len(text))])
            await caller.give(text, is_last=True)
            return
        gateway = self.gateway
        available = sum(gateway.fleet.available(clock()))
        is_ready = self.is_ready and available > 0
        caller.status = 200 if is_ready or path == "/health" else 503
        player, policies = gateway.decider.player, gateway.policies
        told: dict[str, Any] = {"status": "ok", "ready": is_ready, "available": available}
        told["version"] = player.version if player is not None else ""
        told["refused"] = policies.why if policies is not None else ""
        await answer(send, caller.status, told)


def _asked(scope: Message) -> Asked:
    target = scope["raw_path"]
    if query := scope["query_string"]:
        target += b"?" + query
    return Asked(scope["method"], target, list(scope["headers"]))


def _object(body: bytes) -> dict[str, Any] | None:
    """What a body says, if it is a JSON object."""
    try:
        said = from_json(body)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _session(scope: Message, said: dict[str, Any]) -> str:
    named = next((value for name, value in scope["headers"] if name == b"x-session-id"), b"")
    session = named.decode("latin-1") or said.get("prompt_cache_key")
    return session[:_MOST_SESSION] if isinstance(session, str) else ""
