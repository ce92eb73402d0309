"""What the simulator says of requests that were played: the same ones, at the same replicas.

The timing is of one engine that was measured, as by `passes`; `slowness` is a factor on it, as of
engines that share a machine.
"""

from collections.abc import Mapping

import numpy as np

from marlserve.envs.sims.replica import Engine, Replicas
from marlserve.serving.trials.traffic import Request, Result


def predicted(
    requests: list[Request],
    results: list[Result],
    engine: Engine,
    on_the_way_s: float = 0.0,
    slowness: Mapping[str, float] | None = None,
) -> list[Result]:
    """What would have come of the requests that did not fail, each at the replica where it was.

    Args:
        engine: what each of the replicas is.
        on_the_way_s: how long a request takes beside its passes.
        slowness: of each replica, by its name; None: 1.
    """
    served = [pair for pair in zip(requests, results, strict=True) if pair[1].e2e_s is not None]
    names = sorted({result.replica for _, result in served})
    nodes, starts = chains([request.prompt for request, _ in served], engine.block_tokens)
    prompts = np.array([len(request.prompt) for request, _ in served])
    outputs = np.array([request.output_tokens for request, _ in served])
    replicas = Replicas(
        *(1, [engine] * len(names)),
        chain_tokens=engine.block_tokens,
        max_tokens=int((prompts + outputs).max()),
    )
    slow = [1.0 if slowness is None else slowness[name] for name in names]
    replicas.reset(0, prompts, outputs, starts, nodes, slow)
    chosen = [names.index(result.replica) for _, result in served]
    arrivals_ns = [round(1e9 * request.at_s) for request, _ in served]
    replicas.play(np.array([chosen]), np.array([arrivals_ns]))
    told = []
    for one, (_, result) in zip(replicas.requests[0], served, strict=True):
        first_s, last_s = (
            (one[f"{token}_token_ns"] - one["arrival_ns"]) / 1e9 + on_the_way_s
            for token in ("first", "last")
        )
        hits = int(one["hit_tokens"])
        told.append(Result(first_s, last_s, int(one["prompt_tokens"]), hits, result.replica))
    return told


def chains(prompts: list[list[int]], piece_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """A number for each full piece of a prompt and all before it, [pieces] of all prompts one after
    the other, and where each prompt's begin, [N + 1]."""
    known: dict[tuple[int, ...], int] = {}
    nodes, starts = list[int](), [0]
    for prompt in prompts:
        before = -1
        for start in range(0, len(prompt) - piece_tokens + 1, piece_tokens):
            piece = (before, *prompt[start : start + piece_tokens])
            before = known.setdefault(piece, len(known))
            nodes.append(before)
        starts.append(len(nodes))
    return np.array(nodes, np.int64), np.array(starts)
