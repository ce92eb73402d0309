"""Recorded requests, given to simulated engines."""

from collections.abc import Sequence
from pathlib import Path

from marlserve.envs.sims.replica import Engine, Replicas
from marlserve.traces import llm_requests
from marlserve.traces.llm_requests import LLMRequests


def read(
    folder: Path, trace: str, results: str, count: int, block_tokens: int = 512
) -> LLMRequests:
    """The requests of a run.

    Args:
        folder: where the files are.
        trace: the file of the requests, in Mooncake's form.
        results: the file of what became of them.
        count: of requests in it.
        block_tokens: that an id stands for.

    Raises:
        ValueError: if there is another number of requests.
    """
    found = llm_requests.load(path=folder / trace, block_tokens=block_tokens)
    if len(found) != count:
        raise ValueError(f"{trace} has {len(found)} requests, {results} {count}")
    return found


def waiting(trace: LLMRequests, engines: Sequence[Engine], slowness: float = 1.0) -> Replicas:
    """One copy of replicas, empty, that waits for these requests."""
    replicas = Replicas(1, engines, chain_tokens=trace.block_tokens, max_tokens=trace.max_tokens)
    replicas.reset(
        *(0, trace["prompt_tokens"], trace["output_tokens"]),
        *(trace.block_starts, trace.chain_nodes, slowness),
    )
    return replicas
