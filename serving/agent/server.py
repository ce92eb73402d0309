"""The process: its command line, what runs beside the routes, and how it ends.

On SIGTERM it takes no more requests, answers those that it has, writes its log and ends.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import tyro
import uvicorn
import uvloop

from marlserve.envs.checks import is_whole
from marlserve.serving.agent.answers import Answers
from marlserve.serving.agent.app import App
from marlserve.serving.agent.service import Service
from marlserve.serving.agent.settings import AgentSettings, from_environment
from marlserve.serving.decisions.player import warm_up

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LOOK_S = 0.5  # between two looks at what may have changed
_MOST_AT_ONCE = 2_048  # connections; who comes then is told so, 503
_DRAIN_S = 10


@asynccontextmanager
async def running(settings: AgentSettings) -> AsyncIterator[App]:
    """The routes, and all that runs beside them.

    Raises:
        ValueError: if the folder at `model_path` cannot be made.
    """
    service = Service(settings)
    app, trainer = App(Answers(service), settings.token), service.trainer
    warm_up()
    await service.policies.look()
    beside: list[Coroutine[Any, Any, None]] = [
        service.policies.watch(_LOOK_S),
        _look_after(service),
    ]
    if settings.trainer:
        beside += [trainer.keep_running(), trainer.train_every(settings.training_interval_s)]
    tasks = [asyncio.create_task(each) for each in beside]
    app.is_ready = True
    try:
        yield app
    finally:
        app.is_ready = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(service.close)


async def _look_after(service: Service) -> None:
    """What changes by itself: how much to explore, and whose outcome is overdue."""
    while True:
        service.explore(service.epsilon)
        service.give_up(time.monotonic())
        await asyncio.sleep(_LOOK_S)


async def serve(settings: AgentSettings, host: str, port: int) -> None:
    """Until a signal comes."""
    async with running(settings) as app:
        gc.collect()
        gc.freeze()  # no decision waits while what is there for good is looked through
        config = uvicorn.Config(
            app,
            host,
            port,
            lifespan="off",
            ws="none",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_level="warning",
            limit_concurrency=_MOST_AT_ONCE,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        await uvicorn.Server(config).serve()


def run(host: str = "127.0.0.1", port: int = 5000) -> None:
    """Answer requests.

    Args:
        host: the address to listen on; any but loopback takes RL_TOKEN.
        port: the port to listen on.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not is_whole(port, 1, 65_535):
        raise ValueError(f"port is {port}; allowed is 1 to 65535")
    settings = from_environment(os.environ)
    if host not in LOOPBACK and not settings.token:
        raise ValueError(f"host is {host}; beyond {LOOPBACK} RL_TOKEN must be set")
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises it again as it ends: what runs beside it must end in order, too.
        signal.signal(number, lambda *_: sys.exit(0))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, host, port))


def main() -> None:
    """The command line."""
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
