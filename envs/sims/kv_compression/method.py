"""What a compression method is: ranks for the entries of a prompt, and how many of them stay."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Seen:
    """What methods look at when a prompt was read, of all layers at once."""

    scores: Tensor  # attention summed by the method's query weights, [layers, kv_heads, n]
    keys: Tensor  # with their positions, [layers, kv_heads, n, head_dim]
    values: Tensor  # likewise
    queries: tuple[Tensor, Tensor] | None = None  # see `queries`; None: no method asks for them


class Method:
    """Ranks entries; the default is by their score with all queries alike."""

    kind: ClassVar[str]  # how its name begins
    evicts: ClassVar[bool] = True
    asks_for_queries = False  # what `queries` tells

    @property
    def name(self) -> str:
        """What `methods.parse` makes the method of."""
        return "_".join([self.kind, *(str(x).removesuffix(".0") for x in vars(self).values())])

    def query_weights(self, num_tokens: int) -> Tensor:
        """w, [n] float32, not negative."""
        return torch.ones(num_tokens)

    def ranks(self, seen: Seen) -> Tensor:
        """What to keep first is ranked highest: [layers, kv_heads, n]."""
        return seen.scores

    def counts(self, ranks: Tensor, budget: int, recent: int) -> Tensor:
        """How many entries stay beside the newest, [layers, kv_heads] int64.

        Args:
            ranks: without the newest, [layers, kv_heads, n - recent].
            budget: of a layer and KV head on average; more than `recent`, less than n.
            recent: entries that stay in any case.
        """
        return torch.full(ranks.shape[:2], budget - recent, device=ranks.device)


def check(name: str, value: Any, good: bool, allowed: str) -> None:
    """Raises ValueError for a bad parameter."""
    if not good:
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}")


def is_whole(value: Any, least: int) -> bool:
    """Whether it is a whole number, and at least so much."""
    return isinstance(value, int) and value >= least
