"""The process that trains, as the service sees it: told what to do, started anew if it ends."""

import asyncio
import json
import logging
import sys
from typing import Any

from marlserve.serving.agent.settings import AgentSettings

_START_S, _ANSWER_S = 180.0, 300.0  # that it is given
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0  # before it is started again
_log = logging.getLogger(__name__)


class Unavailable(RuntimeError):
    """The trainer is not there; it says why."""


class Trainer:
    """Keeps one running.

    Attributes:
        progress: what it told last; see `training.trainer`.
        is_up: whether it takes commands.
        starts: how often it was started.
    """

    def __init__(self, settings: AgentSettings, log_path: str):
        self.progress: dict[str, Any] = {"epsilon": 1.0, "buffer_size": 0, "steps_done": 0}
        self.is_up, self.starts = False, 0
        self._settings, self._log_path = settings, log_path
        self._process: asyncio.subprocess.Process | None = None
        self._busy = asyncio.Lock()

    async def keep_running(self) -> None:
        """Start it, and again whenever it ends; until cancelled, which ends it."""
        pause_s = _FIRST_PAUSE_S
        try:
            while True:
                await self._run()
                pause_s = _FIRST_PAUSE_S if self.is_up else min(2 * pause_s, _LONGEST_PAUSE_S)
                self.is_up = False
                _log.warning("the trainer has ended; it starts again in %g s", pause_s)
                await asyncio.sleep(pause_s)
        finally:
            self._end()

    async def train_every(self, seconds: float) -> None:
        """Train in the background."""
        settings = self._settings
        while True:
            await asyncio.sleep(seconds)
            if not self.is_up:
                continue
            try:
                await self.train(settings.batch_size, settings.iterations)
            except Unavailable as error:
                _log.warning("no training this time: %s", error)

    async def train(self, batch_size: int, iterations: int) -> dict[str, Any]:
        """See `training.trainer.Trainer.train`.

        Raises:
            Unavailable: if it is not there, or does not answer.
        """
        sizes = {"batch_size": batch_size, "iterations": iterations}
        return await self.tell({"command": "train"} | sizes)

    async def tell(self, command: dict[str, Any]) -> dict[str, Any]:
        """Its answer; errors as of `train`, and what it says was wrong."""
        async with self._busy:
            process = self._process
            if not self.is_up or process is None:
                raise Unavailable("the trainer is not running, or not yet")
            try:
                assert process.stdin is not None
                process.stdin.write((json.dumps(command) + "\n").encode())
                await process.stdin.drain()
                answer = await self._line(process, _ANSWER_S)
            except (OSError, ValueError, TimeoutError) as error:
                self._end()  # whoever runs it starts another one
                raise Unavailable(f"the trainer did not answer: {error!r}") from error
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    async def _run(self) -> None:
        """One process, from start to end."""
        settings = self._settings
        command = [sys.executable, "-m", "marlserve.serving.training"]
        command += ["--store", str(settings.model_path), "--log", self._log_path]
        command += ["--num-replicas", str(settings.num_replicas)]
        command += [] if settings.start is None else ["--start", str(settings.start)]
        pipe = asyncio.subprocess.PIPE
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        try:
            await self._line(self._process, _START_S)
        except (ValueError, TimeoutError) as error:
            _log.warning("the trainer does not start: %r", error)
            self._end()
            await self._process.wait()
            return
        self.is_up = True
        await self._process.wait()

    async def _line(self, process: asyncio.subprocess.Process, timeout_s: float) -> dict[str, Any]:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), timeout_s)
        if not line:
            raise ValueError("it has ended")
        answer: dict[str, Any] = json.loads(line)
        self.progress = {**self.progress, **answer}
        return answer

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
