"""Requests whose prompts begin alike, and who sends them: at times drawn before, whatever comes.

requests = drawn(Traffic(), seed=0)
results = asyncio.run(played("http://127.0.0.1:8000", requests, as_ids=True))
"""

import asyncio
import json
import time
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from marlserve.serving.gateway.address import Address
from marlserve.serving.gateway.replies import Reply
from marlserve.serving.trials.others import VOCABULARY

_FIRST_WORD = 3  # tokens before it stand for no word
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Traffic:
    """Poisson arrivals; each prompt is of one of so many groups, which share its beginning."""

    requests: int = 250
    per_s: float = 20.0
    groups: int = 40
    shared_tokens: int = 1_000
    own_tokens: int = 240
    output_tokens: int = 32


class Request(NamedTuple):
    """One of them; the prompt is of token ids."""

    at_s: float
    group: int
    prompt: list[int]
    output_tokens: int


class Result(NamedTuple):
    """What came of one; None where it failed."""

    ttft_s: float | None
    e2e_s: float | None
    prompt_tokens: int = 0
    cached_tokens: int = 0


def drawn(traffic: Traffic, seed: int) -> list[Request]:
    """All of them, sorted by time."""
    rng, at_s, found = Random(seed), 0.0, []

    def words(number: int) -> list[int]:
        return [_FIRST_WORD + rng.randrange(VOCABULARY) for _ in range(number)]

    shared = [words(traffic.shared_tokens) for _ in range(traffic.groups)]
    for _ in range(traffic.requests):
        at_s += rng.expovariate(traffic.per_s)
        group = rng.randrange(traffic.groups)
        prompt = shared[group] + words(traffic.own_tokens)
        found.append(Request(at_s, group, prompt, traffic.output_tokens))
    return found


async def played(url: str, requests: list[Request], as_ids: bool) -> list[Result]:
    """Send all of them, each at its time.

    Args:
        as_ids: whether prompts are sent as token ids, or as text.
    """
    address, start_s = Address(url), time.perf_counter()

    async def one(request: Request) -> Result:
        await asyncio.sleep(start_s + request.at_s - time.perf_counter())
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await _asked(address, request, as_ids)
        except OSError:
            return Result(None, None)

    try:
        return await asyncio.gather(*map(one, requests))
    finally:
        address.close()


async def _asked(address: Address, request: Request, as_ids: bool) -> Result:
    words = [f"w{token - _FIRST_WORD}" for token in request.prompt]
    body = {
        "model": "tiny",
        "prompt": request.prompt if as_ids else " ".join(words),
        "max_tokens": request.output_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = [
        (b"content-type", b"application/json"),
        (b"x-session-id", b"group-%d" % request.group),
    ]
    data = json.dumps(body).encode()
    sent_s = time.perf_counter()
    connection, head = await address.asked("POST", b"/v1/completions", headers, data)
    reply, first_s = Reply(head.headers), None
    try:
        while chunk := await connection.chunk():
            if reply.add(chunk) and first_s is None:
                first_s = time.perf_counter() - sent_s
    finally:
        address.give_back(connection)
    used = reply.usage()
    if head.status != 200 or first_s is None:
        return Result(None, None)
    if reply.output_tokens(used) != request.output_tokens:
        return Result(None, None)
    e2e_s = time.perf_counter() - sent_s
    return Result(first_s, e2e_s, used.get("prompt_tokens", 0), used.get("cached_tokens", 0))
