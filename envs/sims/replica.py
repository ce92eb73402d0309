"""Replicas of a language model that serve requests by continuous batching, pass by pass.

Model, for each of B independent copies, R replicas, each an engine of the kind of vLLM (v1):

- An engine computes one pass after the other. A pass has room for `max_num_batched_tokens`: the
  running requests come first, in the order of their admission, each with the rest of what it has
  to compute (a prompt may take several passes; decoding is one token); then those in line, as long
  as fewer than `max_num_seqs` run and all that is known of the request fits in the cache. At its
  end each request that is computed to its last known token gets the next one.
- Keys and values lie in `num_blocks` blocks of `block_tokens`. Requests whose prompts begin alike
  share full blocks: a block is found by all the tokens up to its end. Blocks in use by nobody are
  kept until others need the room, the one idle for longest first; of a request, the last first.
- Where no block is to be had, the youngest running request loses its own and is the first in line;
  it computes its tokens anew, those it had generated too.
- A timing says how long a pass takes, and `slowness` is a factor on it per replica.

The rules are those of the mock engine of NVIDIA Dynamo (ai-dynamo 1.6.1, "vllm"), whose results the
simulator reproduces request by request. Runs of passes in which all requests decode are played
without a look at each of them, pass by pass in time. Replicas do not influence each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims import replica_batch as kernel
from marlserve.envs.sims.replica_timing import TableTiming, Timing

__all__ = ["Engine", "Replicas", "TableTiming", "Timing"]
_LIMITS = ("block_tokens", "num_blocks", "max_num_seqs", "max_num_batched_tokens")
_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Engine:
    """What one engine can hold and compute.

    Args:
        block_tokens: tokens in a block of the cache.
        num_blocks: blocks in the cache.
        max_num_seqs: most requests that run at once.
        max_num_batched_tokens: most tokens of one pass.
        prefix_caching: whether requests share the blocks of equal beginnings.
        timing: how long a pass takes.

    Raises:
        ValueError: for counts below 1.
    """

    block_tokens: int = 64
    num_blocks: int = 16_384
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8_192
    prefix_caching: bool = True
    timing: Timing | TableTiming = field(default_factory=Timing)

    def __post_init__(self):
        for name in _LIMITS:
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be an integer of at least 1")


class Replicas:
    """B copies of R replicas, empty at first.

    Public arrays, with the fields of `replica_arrays`: `replicas` [B, R], and `requests` [B, N],
    the requests of each copy's episode in the order in which they are submitted. Times are whole
    nanoseconds since the episode began.

    Args:
        num_envs: B.
        engines: one per replica.
        chain_tokens: prompt tokens that a node of a request's chain stands for.
        max_tokens: the longest request, prompt and output.

    Raises:
        ValueError: for an argument outside these bounds.
    """

    def __init__(
        self,
        num_envs: int,
        engines: Sequence[Engine],
        *,
        chain_tokens: int = 512,
        max_tokens: int = 131_072,
    ):
        for name, value in (
            ("num_envs", num_envs),
            ("the number of engines", len(engines)),
            ("chain_tokens", chain_tokens),
            ("max_tokens", max_tokens),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        b, r = num_envs, len(engines)
        self.shape = b, r
        self.max_tokens = max_tokens
        self._rules = np.zeros(r, has.RULES)
        for name in _LIMITS:
            self._rules[name] = [getattr(engine, name) for engine in engines]
        self._rules["prefix_caching"] = [engine.prefix_caching for engine in engines]
        self._rules["chain_tokens"] = chain_tokens
        timings = [engine.timing.row() for engine in engines]
        self._timings = np.zeros((r, max(map(len, timings))))
        for row, timing in zip(self._timings, timings, strict=True):
            row[: len(timing)] = timing
        most_seqs, most_blocks = (
            int(self._rules[name].max()) for name in ("max_num_seqs", "num_blocks")
        )
        longest = min(-(-max_tokens // int(self._rules["block_tokens"].min())), most_blocks)
        self.replicas = np.zeros((b, r), has.REPLICA)
        self.requests = np.zeros((b, 0), has.REQUEST)
        self._nodes = np.zeros((b, 0), np.int64)
        self._blocks = np.zeros((b, r, most_blocks), has.BLOCK)
        self._table = np.full((b, r, 2 << (most_blocks - 1).bit_length()), has.NONE, np.int32)
        self._running = np.zeros((b, r, most_seqs), np.int32)
        self._held = np.zeros((b, r, most_seqs, longest), np.int32)
        self._rows = np.zeros((b, r, most_seqs), np.int32)
        self._log = np.zeros((b, 0), np.int32)
        self._log_length = np.zeros(b, np.int64)
        self.num_submitted = np.zeros(b, np.int64)

    def reset(
        self,
        copy: int,
        prompt_tokens: np.ndarray,
        output_tokens: np.ndarray,
        chain_starts: np.ndarray | None = None,
        chain_nodes: np.ndarray | None = None,
        slowness: Sequence[float] | np.ndarray | float = 1.0,
    ) -> None:
        """Empty one copy, and give it the requests of its episode, in order of submission.

        Args:
            copy: its index in the batch.
            prompt_tokens: [N], positive.
            output_tokens: [N], not negative.
            chain_starts: [N + 1], where each request's chain begins in `chain_nodes`, and the
                length of these. None: no prompt begins like another.
            chain_nodes: what stands for the prompt up to the end of each piece of `chain_tokens`,
                not negative: two requests have the same node if their prompts are the same so far.
            slowness: a factor on the time of each replica's passes, [R] or one for all.

        Raises:
            ValueError: for values out of these bounds.
        """
        prompt, output = np.asarray(prompt_tokens, np.int64), np.asarray(output_tokens, np.int64)
        n = len(prompt)
        starts = np.zeros(n + 1, np.int64) if chain_starts is None else np.asarray(chain_starts)
        nodes = np.zeros(0, np.int64) if chain_nodes is None else np.asarray(chain_nodes)
        if len(output) != n or len(starts) != n + 1 or starts[-1] != len(nodes):
            raise ValueError(
                f"there are {n} prompt_tokens, {len(output)} output_tokens and {len(starts)} "
                f"chain_starts, the last of which is {starts[-1]} with {len(nodes)} chain_nodes; "
                "they do not belong together"
            )
        slow = np.broadcast_to(np.asarray(slowness, float), self.shape[1])
        for name, value, good, allowed in (
            ("prompt_tokens", prompt, prompt >= 1, "at least 1"),
            ("output_tokens", output, output >= 0, "at least 0"),
            ("both tokens", prompt + output, prompt + output <= self.max_tokens, self.max_tokens),
            ("chain_starts", starts, np.diff(starts, prepend=0) >= 0, "0 at first, and rising"),
            ("chain_nodes", nodes, nodes >= 0, "at least 0"),
            ("slowness", slow, np.isfinite(slow) & (slow > 0), "positive and finite"),
        ):
            if not good.all():
                raise ValueError(f"{name} has {value[~good][0]}; allowed is {allowed}")
        self.requests, self._log = grown(self.requests, max(n, 1)), grown(self._log, 2 * n)
        self._nodes = grown(self._nodes, len(nodes))
        requests = self.requests[copy]
        requests[:] = 0
        for name in ("arrival_ns", "admitted_ns", "first_token_ns", "last_token_ns", "replica"):
            requests[name] = has.NONE
        requests["prompt_tokens"][:n], requests["output_tokens"][:n] = prompt, output
        requests["chain_start"][:n], requests["chain_length"][:n] = starts[:-1], np.diff(starts)
        self._nodes[copy, : len(nodes)] = nodes
        replicas = self.replicas[copy]
        replicas[:] = 0
        for name in ("first", "last", "free", "oldest", "newest"):
            replicas[name] = has.NONE
        replicas["num_free"], replicas["slowness"] = self._rules["num_blocks"], slow
        self._table[copy] = has.NONE
        self._rows[copy] = np.arange(self._rows.shape[2])
        self._log_length[copy] = self.num_submitted[copy] = 0

    def advance(self, until_ns: np.ndarray) -> None:
        """Play each copy to a time, [B]: passes that end by then end, those before it start."""
        kernel.advance_all(np.asarray(until_ns, np.int64), *self.arguments)

    def submit(self, chosen: np.ndarray, now_ns: np.ndarray) -> None:
        """The next request of each copy goes to a replica, [B], -1 for none, at a time, [B]."""
        state, rules, *_ = self.arguments
        kernel.submit_all(
            *(np.asarray(chosen, np.int64), np.asarray(now_ns, np.int64), state, rules),
            self.num_submitted,
        )

    def settle(self) -> None:
        """Bring `requests` and the blocks of `replicas` up to date; until then they may lag."""
        state, rules, *_ = self.arguments
        kernel.settle_all(state, rules)

    def play(self, chosen: np.ndarray, arrivals_ns: np.ndarray) -> None:
        """Play all requests of all copies: to which replicas, [B, N], and at which times, [B, N].

        Raises:
            ValueError: for replicas that do not exist, and times that fall.
        """
        chosen, arrivals_ns = np.asarray(chosen, np.int64), np.asarray(arrivals_ns, np.int64)
        if not ((chosen >= 0) & (chosen < self.shape[1])).all():
            raise ValueError(f"chosen are {chosen}; they must be from 0 to {self.shape[1] - 1}")
        if not (np.diff(arrivals_ns, axis=1) >= 0).all():
            raise ValueError("arrivals_ns must not fall")
        kernel.play(*(chosen, arrivals_ns, *self.arguments, self.num_submitted))
        self.finish()

    def finish(self) -> None:
        """Play all copies until nothing is left to do."""
        self.advance(np.full(self.shape[0], _FOREVER))

    @property
    def arguments(self) -> tuple:
        """What the compiled functions take: arrays, rules, timings, events and their numbers."""
        state = (
            *(self.replicas, self.requests, self._nodes, self._blocks, self._table),
            *(self._running, self._held, self._rows),
        )
        return state, self._rules, self._timings, self._log, self._log_length


def grown(array: np.ndarray, least: int, axis: int = 1, fill: Any = 0) -> np.ndarray:
    """The array with at least so many places along an axis; what is there is kept."""
    if array.shape[axis] >= least:
        return array
    shape = [least if i == axis else size for i, size in enumerate(array.shape)]
    new = np.full(shape, np.array(fill, array.dtype))
    new[tuple(map(slice, array.shape))] = array
    return new
