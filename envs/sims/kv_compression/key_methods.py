"""Methods that look at keys and values instead of attention; see `methods`."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from marlserve.envs.sims.kv_compression.method import Method, Seen
from marlserve.envs.sims.kv_compression.queries import SINKS


class KeyMethod(Method):
    """One without sums of attention."""

    def query_weights(self, num_tokens: int) -> Tensor:
        return torch.zeros(num_tokens)


@dataclass(frozen=True)
class KNorm(KeyMethod):
    kind = "knorm"

    def ranks(self, seen: Seen) -> Tensor:
        return -seen.keys.float().norm(dim=-1)


@dataclass(frozen=True)
class KeyDiff(KeyMethod):
    kind = "keydiff"

    def ranks(self, seen: Seen) -> Tensor:
        keys = seen.keys.float()
        return -cosine_similarity(keys, normalize(keys, dim=-1).mean(2, keepdim=True), dim=-1)


@dataclass(frozen=True)
class ExpectedAttention(KeyMethod):
    kind = "expected"
    asks_for_queries = True

    def ranks(self, seen: Seen) -> Tensor:
        if seen.queries is None:
            raise ValueError("expected attention asks for the queries; prefill was not told so")
        sinks = min(SINKS, seen.keys.shape[2] - 1)
        keys, values = seen.keys[:, :, sinks:].float(), seen.values[:, :, sinks:].float()
        shape = (keys.shape[1], -1)  # query heads by the KV head that they share
        mean, covariance = (x.unflatten(1, shape) for x in seen.queries)
        width = keys.shape[-1]
        logits = torch.einsum("lgqd,lgnd->lgqn", mean, keys) / width**0.5
        spread = torch.einsum("lgqde,lgne->lgqnd", covariance, keys)
        logits = logits + torch.einsum("lgqnd,lgnd->lgqn", spread, keys) / (2 * width)
        ranks = logits.softmax(-1).mean(2) * values.norm(dim=-1)
        first = ranks.new_full((*ranks.shape[:2], sinks), torch.inf)
        return torch.cat([first, ranks], -1)
