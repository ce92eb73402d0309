"""A gateway in front of engines within this process, on real sockets, and who asks it.

async def play(world):
    answer = await world.ask("POST", "/v1/completions", {"prompt": "hello"})

run(play, num_engines=3, heuristic="cache_aware")
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import uvicorn
import uvloop
from engines import Engine, engine

from marlserve.serving.gateway.address import Address
from marlserve.serving.gateway.app import App
from marlserve.serving.gateway.gateway import Gateway
from marlserve.serving.gateway.settings import GatewaySettings, Tokens

PATIENCE_S = 60.0
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class Answer(NamedTuple):
    """What came back; `chunks` are the parts of `body` as they came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    chunks: list[bytes]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class World:
    """See the module."""

    def __init__(self, engines: list[Engine], gateway: Gateway, port: int):
        self.engines, self.gateway, self.port = engines, gateway, port
        self.address = Address(f"http://127.0.0.1:{port}")

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await ask(self.address, method, path, body, **headers)

    async def complete(self, prompt: Any = "say it", path: str = COMPLETIONS, **more) -> Answer:
        headers = more.pop("headers", {})
        key, value = "prompt", prompt
        if path == CHAT:
            key, value = "messages", [{"role": "user", "content": prompt}]
        return await self.ask("POST", path, {"model": "tiny", key: value, **more}, **headers)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.005)

    def counted(self, name: str) -> float:
        """The sum of what the metrics say under that name."""
        text = App(self.gateway)._metrics.text().decode()
        lines = [x for x in text.splitlines() if x.startswith(f"marlserve_gateway_{name}")]
        assert lines, name
        return sum(float(line.rpartition(" ")[2]) for line in lines)


async def ask(address: Address, method: str, path: str, body: Any = None, **headers) -> Answer:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    told = {"content_type": "application/json"} | headers
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in told.items()]
    async with asyncio.timeout(PATIENCE_S):
        connection, head = await address.asked(method, path.encode(), given, data)
        chunks = []
        try:
            while chunk := await connection.chunk():
                chunks.append(chunk)
        finally:
            address.give_back(connection)
    return Answer(head.status, dict(head.headers), b"".join(chunks), chunks)


def run(
    play: Callable[[World], Awaitable[Any]],
    num_engines: int = 2,
    tokens: Tokens | None = None,
    redis_url: str = "",
    **settings: Any,
) -> Any:
    """Play with a gateway and so many engines; what that gives."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(play, num_engines, tokens, redis_url, settings))


async def _run(play, num_engines, tokens, redis_url, settings) -> Any:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(engine()) for _ in range(num_engines)]
        given = {"replicas": tuple(each.url for each in engines), "scrape_s": 0.05} | settings
        gateway = Gateway(GatewaySettings(**given), tokens, 0, redis_url)
        await stack.enter_async_context(gateway.running())
        app = App(gateway)
        app.is_ready = True
        config = uvicorn.Config(app, port=0, lifespan="off", ws="none", log_level="warning")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        world = World(engines, gateway, port)
        try:
            return await play(world)
        finally:
            world.address.close()
            server.should_exit = True
            server.force_exit = True
            await task
