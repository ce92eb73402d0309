"""What the queries to come may be like, told by those of the prompt.

The prompt's queries, before they are turned to their positions, are taken for a sample; its first
few tokens, which are like no others, are left out. Their mean m and covariance C are turned by R,
the mean of the rotations to the next positions: R m and R C R'.

Reference: Devoto, Jeblick, Jegou: Expected attention: KV cache compression by estimating attention
from future queries distribution, 2025, https://arxiv.org/abs/2510.00636
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SINKS = 4  # tokens at the beginning that are left out
HORIZON = 512  # positions to come


class Queries:
    """Of a prompt that a model reads once.

    Attributes:
        layers: {layer: (mean [heads, head_dim], covariance [heads, head_dim, head_dim])}, before
            any rotation.
    """

    def __init__(self):
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def observe(self, layer: int, queries: Tensor) -> None:
        """Take those of a layer, [heads, n, head_dim]."""
        queries = queries[:, min(SINKS, queries.shape[1] - 1) :].float()
        mean = queries.mean(1)
        apart = queries - mean[:, None]
        self.layers[layer] = (mean, apart.transpose(1, 2) @ apart / apart.shape[1])

    def to_come(self, model: "PreTrainedModel", num_tokens: int) -> tuple[Tensor, Tensor]:
        """Mean [layers, heads, head_dim] and covariance [layers, heads, head_dim, head_dim] of
        the queries that follow on so many tokens.

        Raises:
            ValueError: for a model that rotates a part of the features only.
        """
        means, covariances = zip(*(self.layers[x] for x in sorted(self.layers)), strict=True)
        mean, covariance = torch.stack(means), torch.stack(covariances)
        turned = getattr(model.base_model, "rotary_emb", None)
        if turned is None:  # positions are in the embeddings
            return mean, covariance
        positions = torch.arange(num_tokens, num_tokens + HORIZON, device=mean.device)
        cosine, sine = (x[0].float().mean(0) for x in turned(mean, positions[None]))
        width, half = mean.shape[-1], mean.shape[-1] // 2
        if len(cosine) != width:
            raise ValueError(
                f"{type(model).__name__} rotates {len(cosine)} of {width} features; expected "
                "attention knows models that rotate all"
            )
        one = torch.eye(width, device=mean.device)
        rotation = cosine[:, None] * one + sine[:, None] * torch.cat([-one[half:], one[:half]])
        return mean @ rotation.T, rotation @ covariance @ rotation.T


@contextmanager
def observed(model: "PreTrainedModel") -> Iterator[Queries]:
    """What is read meanwhile, in one call, is told.

    Raises:
        ValueError: for a model whose layers do not project their queries by themselves.
    """
    found, hooks = Queries(), []
    for module in model.base_model.modules():
        if hasattr(module, "layer_idx") and hasattr(module, "q_proj"):
            hooks.append(module.q_proj.register_forward_hook(_tells(module, found)))
    if len(hooks) != model.config.num_hidden_layers:
        raise ValueError(
            f"{type(model).__name__} has a q_proj in {len(hooks)} of its "
            f"{model.config.num_hidden_layers} layers; expected attention needs it in all"
        )
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _tells(attention, found: Queries):
    def hook(module, given, projected: Tensor) -> None:
        queries = projected[0].unflatten(-1, (-1, attention.head_dim))  # [n, heads, head_dim]
        if hasattr(attention, "q_norm"):
            queries = attention.q_norm(queries)
        found.observe(attention.layer_idx, queries.transpose(0, 1))

    return hook
