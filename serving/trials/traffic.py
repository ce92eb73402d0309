"""Requests whose prompts begin alike, and who sends them: at times drawn before, whatever comes.

requests = drawn(Traffic(), seed=0)
results = asyncio.run(played("http://127.0.0.1:8000", requests, as_ids=True))

    python -m marlserve.serving.trials.traffic --out requests.jsonl --seed 1000 --shared-tokens 1024

writes such requests in Mooncake's form, for `--trace file` of `replica_routing`, to train on them.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

import tyro

from marlserve.serving.gateway.address import Address
from marlserve.serving.gateway.replies import Reply
from marlserve.serving.trials.tiny_model import FIRST_WORD, NAME, words

_PATIENCE_S = 120.0
_ID_TOKENS = 512  # that an id of Mooncake's form stands for


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
    replica: str = ""  # as the gateway calls it


class Stream(NamedTuple):
    """A completion as it came; times by the clock of `time.perf_counter`."""

    sent_s: float
    tokens_s: list[float]  # fewer than tokens where an engine sent several at once
    end_s: float
    prompt_tokens: int
    cached_tokens: int
    replica: str


def drawn(traffic: Traffic, seed: int) -> list[Request]:
    """All of them, sorted by time."""
    rng, at_s, found = Random(seed), 0.0, []
    shared = [words(traffic.shared_tokens, rng) for _ in range(traffic.groups)]
    for _ in range(traffic.requests):
        at_s += rng.expovariate(traffic.per_s)
        group = rng.randrange(traffic.groups)
        prompt = shared[group] + words(traffic.own_tokens, rng)
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
        text = " ".join(f"w{token - FIRST_WORD}" for token in request.prompt)
        prompt, session = request.prompt if as_ids else text, b"group-%d" % request.group
        try:
            async with asyncio.timeout(_PATIENCE_S):
                told = await streamed(address, prompt, request.output_tokens, session)
        except OSError:
            return Result(None, None)
        first_s, e2e_s = told.tokens_s[0] - told.sent_s, told.end_s - told.sent_s
        return Result(first_s, e2e_s, told.prompt_tokens, told.cached_tokens, told.replica)

    try:
        return await asyncio.gather(*map(one, requests))
    finally:
        address.close()


async def streamed(
    address: Address, prompt: list[int] | str, output_tokens: int, session: bytes = b""
) -> Stream:
    """Ask for a completion of so many tokens.

    Raises:
        OSError: if another answer comes, or none.
    """
    body = {
        "model": NAME,
        "prompt": prompt,
        "max_tokens": output_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = [(b"content-type", b"application/json"), (b"x-session-id", session)]
    data, sent_s = json.dumps(body).encode(), time.perf_counter()
    connection, head = await address.asked("POST", b"/v1/completions", headers, data)
    reply, lines_s = Reply(head.headers), list[float]()
    try:
        while chunk := await connection.chunk():
            lines_s += [time.perf_counter()] * reply.add(chunk)
    finally:
        address.give_back(connection)
    used, end_s = reply.usage(), time.perf_counter()
    count = reply.output_tokens(used)
    if head.status != 200 or count != output_tokens or not lines_s:
        raise OSError(f"{address.url} answers {head.status}, {count} of {output_tokens} tokens")
    prompts = used.get("prompt_tokens", 0), used.get("cached_tokens", 0)
    replica = dict(head.headers).get(b"x-replica", b"").decode()
    return Stream(sent_s, lines_s[:count], end_s, *prompts, replica)


def main(
    out: Path,
    seed: int,
    traffic: tyro.conf.OmitArgPrefixes[Traffic] = Traffic(),
) -> None:
    """Write the file.

    Args:
        out: where to.
    """
    if traffic.shared_tokens % _ID_TOKENS or not 0 < traffic.own_tokens <= _ID_TOKENS:
        raise ValueError(
            f"shared_tokens is {traffic.shared_tokens} and own_tokens {traffic.own_tokens}; "
            f"allowed are multiples of {_ID_TOKENS}, for which an id stands, and 1 to {_ID_TOKENS}"
        )
    ids = traffic.shared_tokens // _ID_TOKENS
    with out.open("w") as file:
        for i, request in enumerate(drawn(traffic, seed)):
            shared = range(request.group * ids, (request.group + 1) * ids)
            row = {
                "timestamp": round(1e3 * request.at_s),
                "input_length": len(request.prompt),
                "output_length": request.output_tokens,
                "hash_ids": [*shared, traffic.groups * ids + i],
            }
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
