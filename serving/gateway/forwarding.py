"""A request goes to a replica, and its reply comes back as it is, byte for byte.

- As long as nothing of a reply was passed on, another replica may be asked instead: if the first
  one does not answer, or says that it cannot (`_TRY_ELSEWHERE`). A stream begins with its first
  token, not with its head; a reply that comes whole is passed on whole, up to a length.
- Retries are budgeted: each request earns a share of one, and some are kept in store. So replicas
  that all fail do not get several times the load.
- If the caller goes, the connection to the replica is closed, which ends the request there.
- If a replica fails in the middle of a reply, the caller's connection is closed: they see that it
  is not all.
"""

import asyncio
import logging
import random
from typing import NamedTuple

from marlserve.serving.gateway.address import Addresses
from marlserve.serving.gateway.attempts import Attempt, Attempts
from marlserve.serving.gateway.caller import Caller
from marlserve.serving.gateway.connection import Connection, Head, Headers
from marlserve.serving.gateway.headers import end_to_end, to_replica
from marlserve.serving.gateway.prompts import Prompt
from marlserve.serving.gateway.replica import Replica
from marlserve.serving.gateway.replies import Reply
from marlserve.serving.gateway.settings import GatewaySettings, Tokens

_TRY_ELSEWHERE = (429, 500, 502, 503, 504)
_BUSY = 429
_MOST_ATTEMPTS = 3
_MOST_HELD = 1 << 20  # bytes of a reply that is passed on whole
_STORE = 100.0  # retries that may be kept in store
_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A request; `target` is its path with the query."""

    method: str
    target: bytes
    headers: Headers
    body: bytes = b""
    prompt: Prompt = Prompt()
    session: str = ""


class Forwarding:
    """Of one gateway.

    Attributes:
        retries: so far.
        refused: retries that there was no budget for.
        cut: replies that failed in the middle.
    """

    def __init__(
        self, attempts: Attempts, addresses: Addresses, settings: GatewaySettings, tokens: Tokens
    ):
        self.retries = self.refused = self.cut = 0
        self._attempts, self._addresses = attempts, addresses
        self._settings, self._tokens = settings, tokens
        self._budget = _STORE / 2

    async def complete(self, asked: Asked, caller: Caller) -> None:
        """Send a request for a completion where it is decided to go."""
        self._budget = min(self._budget + self._settings.retry_share, _STORE)
        headers = to_replica(asked.headers, self._tokens)
        tried: list[Replica] = []
        while attempt := self._attempts.begin(asked.prompt, asked.session, tried):
            address, connection = self._addresses[attempt.replica.name], None
            tried.append(attempt.replica)
            try:
                async with asyncio.timeout(self._settings.first_byte_s):
                    connection, head = await address.asked(
                        asked.method, asked.target, headers, asked.body
                    )
                    reply = Reply(head.headers)
                    held = await _held(connection, reply)
                if head.status in _TRY_ELSEWHERE:
                    attempt.failed(is_its_fault=head.status != _BUSY)
                    if self._may_retry(tried):
                        continue
                elif head.status >= 400:  # what was asked for is why
                    attempt.left()
                await self._pass(attempt, connection, head, reply, held, caller)
                return
            except OSError as error:
                _log.warning("%s failed: %r", address.url, error)
                if not attempt.is_over:
                    attempt.failed()
                if caller.status:
                    self.cut += 1
                    return
                if not self._may_retry(tried):
                    break
            finally:
                if not attempt.is_over:
                    attempt.left()
                if connection is not None:
                    address.give_back(connection)
        await caller.refuse(502 if tried else 503, "no replica answers")

    async def ask_any(self, asked: Asked, caller: Caller) -> None:
        """Pass on what some replica answers."""
        replicas = list(self._attempts.fleet.replicas)
        random.shuffle(replicas)
        replicas.sort(key=lambda replica: not replica.is_up)
        headers = to_replica(asked.headers, self._tokens)
        for replica in replicas[:_MOST_ATTEMPTS]:
            address, connection = self._addresses[replica.name], None
            try:
                async with asyncio.timeout(self._settings.idle_s):
                    connection, head = await address.asked(asked.method, asked.target, headers)
                    body = await connection.rest()
            except OSError as error:
                _log.warning("%s failed: %r", address.url, error)
                continue
            finally:
                if connection is not None:
                    address.give_back(connection)
            await caller.start(head.status, end_to_end(head.headers))
            await caller.give(body, is_last=True)
            return
        await caller.refuse(502 if replicas else 503, "no replica answers")

    def _may_retry(self, tried: list[Replica]) -> bool:
        if len(tried) >= min(_MOST_ATTEMPTS, len(self._attempts.fleet.replicas)):
            return False
        if self._budget < 1.0:
            self.refused += 1
            return False
        self._budget -= 1.0
        self.retries += 1
        return True

    async def _pass(
        self,
        attempt: Attempt,
        connection: Connection,
        head: Head,
        reply: Reply,
        chunk: bytes,
        caller: Caller,
    ) -> None:
        """A reply that has begun, `chunk` of it."""
        marks = [
            (b"x-replica", attempt.replica.name.encode()),
            (b"x-decision-id", attempt.decision.id.encode()),
        ]
        while True:
            is_last = connection.is_complete
            if not attempt.is_over:
                attempt.came(reply.add(chunk))
                if is_last:
                    attempt.succeeded(reply)
            if not caller.status:
                await caller.start(head.status, end_to_end(head.headers) + marks)
            await caller.give(chunk, is_last)
            if is_last:
                return
            async with asyncio.timeout(self._settings.idle_s):
                chunk = await connection.chunk()


async def _held(connection: Connection, reply: Reply) -> bytes:
    """What has to be there before anything is passed on."""
    chunk = await connection.chunk()
    if reply.is_stream or connection.is_complete:
        return chunk
    parts, size = [chunk], len(chunk)
    while not connection.is_complete and size <= _MOST_HELD:
        parts.append(await connection.chunk())
        size += len(parts[-1])
    return b"".join(parts)
