"""Methods that share a budget out unequally, over layers or over heads; see `methods`."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from marlserve.envs.sims.kv_compression.attention_methods import SnapKV
from marlserve.envs.sims.kv_compression.method import Method, Seen, check


@dataclass(frozen=True)
class PyramidKV(SnapKV):
    kind = "pyramidkv"
    beta: float = 20.0  # the last layer keeps 1 / beta of the mean, beside the newest

    def __post_init__(self):
        super().__post_init__()
        check("beta", self.beta, 1.0 <= self.beta < float("inf"), "1 or more")

    def counts(self, ranks: Tensor, budget: int, recent: int) -> Tensor:
        layers, heads, number = ranks.shape
        mean = budget - recent
        first = min(float(number), mean * (2.0 - 1.0 / self.beta)) if layers > 1 else mean
        ends = torch.linspace(first, 2.0 * mean - first, layers, dtype=torch.float64).cumsum(0)
        whole = ends.round().long().diff(prepend=torch.zeros(1, dtype=torch.int64))
        return whole.to(ranks.device)[:, None].expand(-1, heads)


@dataclass(frozen=True)
class Ada(Method):
    kind = "ada"
    method: Method = field(default_factory=SnapKV)  # whose ranks of all heads are compared

    SAFE = 0.2  # of the mean is every head's own

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.method.name}"

    @property
    def asks_for_queries(self) -> bool:  # type: ignore[override]
        return self.method.asks_for_queries

    def query_weights(self, num_tokens: int) -> Tensor:
        return self.method.query_weights(num_tokens)

    def ranks(self, seen: Seen) -> Tensor:
        return self.method.ranks(seen)

    def counts(self, ranks: Tensor, budget: int, recent: int) -> Tensor:
        heads = ranks.shape[1]
        safe = max(0, int(self.SAFE * budget) - recent)
        own = ranks.topk(safe, dim=-1).indices
        sure = ranks.double().scatter(2, own, torch.inf)
        chosen = sure.flatten(1).topk(heads * (budget - recent), dim=-1).indices
        head = chosen // ranks.shape[2]
        return (head[:, :, None] == torch.arange(heads, device=ranks.device)).sum(1)
