"""From a prompt to the answers that a model gives from compressed caches.

The prompt is read once. Every method's cache is cut out of that one, and all of them answer side
by side as the rows of a batch.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from marlserve.envs.sims.kv_compression.attention import AttentionScores
from marlserve.envs.sims.kv_compression.cache import EvictingCache
from marlserve.envs.sims.kv_compression.method import Method, Seen
from marlserve.envs.sims.kv_compression.queries import observed


@dataclass(frozen=True)
class Prefill:
    """A prompt that was read.

    Attributes:
        cache: with all n entries.
        scores: [layers, W, kv_heads, n] float32, attention summed by W ways to weigh the queries.
        hidden: [n, hidden_size] float32, the model's last hidden states.
        queries: that are to come, see `queries`; None: they were not asked for.
    """

    cache: EvictingCache
    scores: Tensor
    hidden: Tensor
    queries: tuple[Tensor, Tensor] | None = None

    @cached_property
    def keys(self) -> Tensor:
        """Of all layers, [layers, kv_heads, n, head_dim]."""
        return torch.stack([layer.keys[0] for layer in self.cache.layers])

    @cached_property
    def values(self) -> Tensor:
        """Likewise."""
        return torch.stack([layer.values[0] for layer in self.cache.layers])


@torch.inference_mode()
def prefill(
    model: PreTrainedModel, tokens: Tensor, query_weights: Tensor, with_queries: bool = False
) -> Prefill:
    """Read a prompt.

    Args:
        model: from `language_model.load`.
        tokens: [n] int64.
        query_weights: [W, n] float32, one row for each sum of attention that is wanted.
        with_queries: tell those that are to come, for a method that asks for them.

    Raises:
        ValueError: for an empty prompt, weights of another number of queries, or a model whose
            layers do not tell their attention, or their queries.
    """
    if not len(tokens):
        raise ValueError("the prompt is empty; it must have at least 1 token")
    if query_weights.shape[1:] != tokens.shape:
        raise ValueError(
            f"query_weights has shape {list(query_weights.shape)}; expected [W, {len(tokens)}]"
        )
    cache = EvictingCache(model.config.num_hidden_layers)
    scores = AttentionScores(query_weights)
    with observed(model) if with_queries else nullcontext() as queries:
        read = model.base_model(
            tokens.to(model.device)[None], past_key_values=cache, use_cache=True, scores=scores
        )
    if len(scores.layers) != len(cache.layers):
        raise ValueError(
            f"{type(model).__name__} tells the attention of {len(scores.layers)} of its "
            f"{len(cache.layers)} layers; all of them must use transformers' attention interface"
        )
    layers = [scores.layers[layer] for layer in sorted(scores.layers)]
    to_come = queries.to_come(model, len(tokens)) if queries else None
    return Prefill(cache, torch.stack(layers), read.last_hidden_state[0].float(), to_come)


@torch.inference_mode()
def compressed(
    read: Prefill,
    methods: Sequence[Method],
    rows: Sequence[int],
    budget: int | Sequence[int],
    recent: int,
) -> EvictingCache:
    """The caches of these methods as the rows of one.

    Args:
        read: with attention summed by the methods' `query_weights`.
        methods: that evict; `Full` keeps more than the others.
        rows: which of the W sums is each method's own.
        budget: entries that stay, in each layer and KV head on average; of each method, or of all
            alike. A shorter prompt stays whole.
        recent: how many of these are the newest tokens.

    Raises:
        ValueError: for a method that does not evict, a budget below 1 or a `recent` that is not
            from 0 to the budget; for no method at all.
    """
    budgets = [budget] * len(methods) if isinstance(budget, int) else budget
    if not methods:
        raise ValueError("methods is empty; name at least one")
    caches = []
    for method, row, of in zip(methods, rows, budgets, strict=True):
        check_budget(of, recent)
        if not method.evicts:
            raise ValueError(f"{method.name} evicts nothing; use the whole cache")
        caches.append(kept(method, read, row, of, recent))
    most = max(one.shape[2] for one in caches)
    filled = [pad(one, (0, most - one.shape[2]), value=-1) for one in caches]
    return read.cache.evicted(list(torch.stack(filled, 1)))


def check_budget(budget: int, recent: int) -> None:
    """Raises ValueError for what `compressed` refuses."""
    if budget < 1:
        raise ValueError(f"budget is {budget}; it must be at least 1 entry")
    if not 0 <= recent <= budget:
        raise ValueError(f"recent is {recent}; allowed is 0 to the budget, {budget}")


def kept(method: Method, read: Prefill, row: int, budget: int, recent: int) -> Tensor:
    """Indices of the entries that stay, [layers, kv_heads, m] in the order of the text; -1, at the
    end, where others keep more."""
    layers, heads, number = (scores := read.scores[:, row]).shape
    everything = torch.arange(number, device=scores.device).expand(layers, heads, -1)
    if number <= budget:
        return everything
    if budget == recent:
        return everything[..., number - recent :]
    ranks = method.ranks(Seen(scores, read.keys, read.values, read.queries))
    ranks = ranks[..., : number - recent]
    counts = method.counts(ranks, budget, recent)[..., None]
    chosen = ranks.topk(int(counts.max()), dim=-1).indices
    late = torch.arange(chosen.shape[2], device=chosen.device) >= counts
    indices = torch.cat([chosen.masked_fill(late, number), everything[..., number - recent :]], -1)
    indices = indices.sort(-1).values
    return indices.masked_fill(indices == number, -1)


@torch.inference_mode()
def answer(
    model: PreTrainedModel,
    cache: EvictingCache,
    turns: Sequence[tuple[Tensor, int]],
    end_token: int | None = None,
) -> Tensor:
    """Greedy replies, [B, all tokens of all replies] int64.

    Args:
        cache: B rows; it grows by the turns.
        turns: (tokens [m] int64 to feed, how many tokens to reply) in their order.
        end_token: a row that says it says nothing else until the turn ends. Every turn takes its
            full number of tokens, so that no row's cache depends on when the others end; only
            the last turn stops when all rows have ended, and is filled up.

    Raises:
        ValueError: without turns; for a turn without tokens or without a reply.
    """
    if not turns:
        raise ValueError("turns is empty; there must be at least 1")
    for tokens, number in turns:
        if not len(tokens) or number < 1:
            raise ValueError(
                f"a turn has {len(tokens)} tokens and a reply of {number}; at least 1 each"
            )
    batch, replies = cache.layers[0].keys.shape[0], []
    said = torch.empty(batch, 0, dtype=torch.int64, device=model.device)
    for turn, (tokens, number) in enumerate(turns, start=1):
        fed = torch.cat([said, tokens.to(model.device).expand(batch, -1)], 1)
        reply: list[Tensor] = []
        ended = torch.zeros(batch, dtype=torch.bool, device=model.device)
        while len(reply) < number and not (turn == len(turns) and bool(ended.all())):
            hidden = model.base_model(fed, past_key_values=cache, use_cache=True).last_hidden_state
            token = model.get_output_embeddings()(hidden[:, -1]).argmax(-1)
            if end_token is not None:
                token = token.masked_fill(ended, end_token)
                ended = token == end_token
            reply.append(token)
            fed = token[:, None]
        said = fed
        filling = [torch.full_like(token, end_token or 0)] * (number - len(reply))
        replies += reply + filling
    return torch.stack(replies, 1)
