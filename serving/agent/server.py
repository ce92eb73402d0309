"""The process: its command line, what runs beside the routes, and how it ends.

On SIGTERM it takes no more requests, answers those that it has, writes its log and ends.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import tyro

from marlserve.serving.agent.answers import Answers
from marlserve.serving.agent.app import App
from marlserve.serving.agent.service import Service
from marlserve.serving.agent.settings import AgentSettings, from_environment
from marlserve.serving.decisions.player import warm_up
from marlserve.serving.service import listening
from marlserve.serving.service.at_once import AtOnce

_LOOK_S = 0.5  # between two looks at what may have changed


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
        await listening.listen(app, host, port, protocol=AtOnce)


def run(host: str = "127.0.0.1", port: int = 5000) -> None:
    """Answer requests.

    Args:
        host: the address to listen on; any but loopback takes RL_TOKEN.
        port: the port to listen on.
    """
    settings = from_environment(os.environ)
    listening.check(host, port, settings.token)
    listening.run(serve(settings, host, port))


def main() -> None:
    """The command line."""
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
