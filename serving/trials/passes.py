"""How long the passes of an engine take, as its callers see it: what `calibrate` makes a timing of.

    python -m marlserve.serving.trials.passes --out passes.csv --url http://127.0.0.1:8001
    python experiments/replica_routing.py calibrate --passes passes.csv --out timing.json

Nobody else may ask the engine meanwhile, whose model is called "tiny". A prompt that is alone takes
one pass until its first token, and what is on the way; sequences that decode together take one pass
for each further token, on average over as long as all do. The first token after a prompt of one
token takes a pass as any further one does: what it takes longer is on the way. Of several rounds
the quickest counts, as engine and caller may wait for a core.
"""

import asyncio
import csv
import sys
import tempfile
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import ExitStack
from math import inf
from pathlib import Path
from random import Random

import tyro

from marlserve.serving.gateway.address import Address
from marlserve.serving.trials.tiny_model import words
from marlserve.serving.trials.traffic import Stream, streamed
from marlserve.serving.trials.vllm import VLLM

COLUMNS = ("wall_ms", "prefill_tokens", "prefill_att", "decode_seqs", "decode_ctx")
_NEW = (1, 8, 32, 128, 256, 512, 1_024, 2_000)  # tokens of prompts
_BEFORE, _BEHIND = 1_024, (8, 64, 256, 512)  # tokens of prompts whose beginning is in the cache
_TOGETHER, _CONTEXTS, _STEPS = (1, 2, 4, 8, 16, 32), (100, 500, 1_000), 64
Row = dict[str, float]


async def measured(url: str, rounds: int, rng: Random) -> tuple[list[Row], float]:
    """Passes, and how long a request is on the way, in ms.

    Raises:
        OSError: if the engine does not answer, or not as told.
    """
    address = Address(url)
    try:
        found = [[row async for row in _round(address, rng)] for _ in range(rounds)]
    finally:
        address.close()
    rows = [min(alike, key=lambda row: row["wall_ms"]) for alike in zip(*found, strict=True)]
    if apart := [row["decode_seqs"] for row in rows if row["wall_ms"] == inf]:
        raise OSError(f"{url}: {apart} sequences never decode together, token by token")
    first_ms, next_ms = (
        min(row["wall_ms"] for row in rows if row[name] == _tokens(row) == 1)
        for name in ("prefill_tokens", "decode_seqs")
    )
    on_the_way_ms = max(first_ms - next_ms, 0.0)
    for row in rows:
        if row["prefill_tokens"]:
            row["wall_ms"] = max(row["wall_ms"] - on_the_way_ms, next_ms)
    return rows, on_the_way_ms


def _tokens(row: Row) -> float:
    return row["prefill_tokens"] + row["decode_seqs"]


async def _round(address: Address, rng: Random) -> AsyncIterator[Row]:
    shared = words(_BEFORE, rng)
    await streamed(address, shared, 1)
    for prompt in (*(words(n, rng) for n in _NEW), *(shared + words(n, rng) for n in _BEHIND)):
        yield of_prompt(await streamed(address, prompt, 1))
    for context in _CONTEXTS:
        prompt = words(context, rng)
        await streamed(address, prompt, 1)
        for together in _TOGETHER:
            asked = [streamed(address, prompt, _STEPS) for _ in range(together)]
            streams = await asyncio.gather(*asked)
            one_by_one = all(len(each.tokens_s) == _STEPS for each in streams)
            yield of_steps(streams) | ({} if one_by_one else {"wall_ms": inf})


def of_prompt(stream: Stream) -> Row:
    """The pass of a prompt that was alone, with what was on the way."""
    new = stream.prompt_tokens - stream.cached_tokens
    attention = new * (stream.cached_tokens + new / 2)
    wall_ms = 1e3 * (stream.tokens_s[0] - stream.sent_s)
    return dict(zip(COLUMNS, (wall_ms, new, attention, 0, 0), strict=True))


def of_steps(streams: list[Stream]) -> Row:
    """The mean pass from the first token of the stream that began last to when the first one ends;
    it takes infinitely long if they did not decode together."""
    last = max(streams, key=lambda stream: stream.tokens_s[0])
    start_s, end_s = last.tokens_s[0], min(stream.tokens_s[-1] for stream in streams)
    together_s = [at_s for at_s in last.tokens_s if start_s < at_s <= end_s]
    wall_ms = 1e3 * (together_s[-1] - start_s) / len(together_s) if together_s else inf
    seen = [bisect_right(each.tokens_s, at) for each in streams for at in (start_s, end_s)]
    context = sum(each.prompt_tokens for each in streams) + sum(seen) / 2
    return dict(zip(COLUMNS, (wall_ms, 0, 0, len(streams), context), strict=True))


def main(
    out: Path, url: str = "", vllm: Path = Path("build/vllm"), rounds: int = 5, seed: int = 0
) -> None:
    """Write the file, and print what is on the way.

    Args:
        out: where to.
        url: of the engine; "": one of `trials.vllm`.
        vllm: the virtual environment of that.
    """
    if out.exists():
        raise ValueError(f"{out} is there already; name another file")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if not url:
            (engine,) = stack.enter_context(VLLM(vllm, Path(folder)).engines(1))
            url = engine.url
        rows, on_the_way_ms = asyncio.run(measured(url, rounds, Random(seed)))
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} passes; {on_the_way_ms:.2f} ms of each request on the way")


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
