"""Attention that keeps account of which keys the queries of a prompt attend to.

`NAME` is an attention implementation for transformers: scaled dot products as usual, and where a
call of the model comes with `scores=AttentionScores(...)`, the probabilities are summed over the
queries as well. They are made again for that, in blocks of queries, in float32: a whole matrix
of probabilities would not fit into memory for long prompts. Keys with a feature more than a query
are those of `cache`, which says what that means.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "marlserve"
_QUERIES_PER_BLOCK = 512


class AttentionScores:
    """Weighted sums of one prompt's attention probabilities over its queries, for each layer.

    Args:
        query_weights: [W, n] float32, W ways to weigh the n queries.

    Attributes:
        layers: {layer: [W, kv_heads, n] float32}, summed over the query heads of a KV head.
    """

    def __init__(self, query_weights: Tensor):
        self.query_weights = query_weights
        self.layers: dict[int, Tensor] = {}

    def observe(self, layer: int, query: Tensor, key: Tensor, scaling: float) -> None:
        """Add the attention of these queries, the last ones so far.

        Args:
            query: [1, heads, m, head_dim].
            key: [1, kv_heads, n, head_dim], of all tokens up to the last query.

        Raises:
            ValueError: for more than one prompt at once.
        """
        (batch, heads, number, _), (_, kv_heads, length, _) = query.shape, key.shape
        if batch != 1:
            raise ValueError(f"{batch} prompts are read at once; allowed is 1")
        weights = self.query_weights.to(query.device)
        scores = torch.zeros(len(weights), kv_heads, weights.shape[1], device=query.device)
        keys = key[0].float().unsqueeze(1)  # [kv_heads, 1, n, head_dim]
        queries = query[0].float().unflatten(0, (kv_heads, heads // kv_heads))
        for start in range(0, number, _QUERIES_PER_BLOCK):
            block = queries[:, :, start : start + _QUERIES_PER_BLOCK]
            position = length - number + start + torch.arange(block.shape[2], device=query.device)
            future = torch.arange(length, device=query.device) > position[:, None]
            logits = (block @ keys.transpose(2, 3)) * scaling
            probability = logits.masked_fill(future, -torch.inf).softmax(-1).sum(1)
            scores[..., :length] += torch.einsum("wq,hqk->whk", weights[:, position], probability)
        self.layers[layer] = self.layers.get(layer, 0.0) + scores


def _forward(
    module, query, key, value, attention_mask, scores: AttentionScores | None = None, **kwargs
):
    scaling = kwargs.pop("scaling", None) or query.shape[-1] ** -0.5
    if scores is not None:
        scores.observe(module.layer_idx, query, key, scaling)
    if key.shape[-1] == query.shape[-1] + 1:
        query = pad(query, (0, 1), value=1.0)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **kwargs
    )


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
