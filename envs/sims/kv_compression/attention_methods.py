"""Methods that look at what the prompt's queries attend to, or at nothing; see `methods`."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from marlserve.envs.sims.kv_compression.method import Method, Seen, check, is_whole


@dataclass(frozen=True)
class Full(Method):
    kind = "full"
    evicts = False


@dataclass(frozen=True)
class Window(Method):
    kind = "window"
    sinks: int = 4

    def __post_init__(self):
        check("sinks", self.sinks, is_whole(self.sinks, 0), "0, 1, 2, ...")

    def query_weights(self, num_tokens: int) -> Tensor:
        return torch.zeros(num_tokens)

    def ranks(self, seen: Seen) -> Tensor:
        position = torch.arange(seen.scores.shape[-1], device=seen.scores.device)
        first = 2 * len(position) - position  # above all others, the first sink highest
        return torch.where(position < self.sinks, first, position).expand_as(seen.scores)


@dataclass(frozen=True)
class H2O(Method):
    kind = "h2o"


@dataclass(frozen=True)
class SnapKV(Method):
    kind = "snapkv"
    window: int = 16
    kernel: int = 7  # neighbours that share their highest score

    def __post_init__(self):
        check("window", self.window, is_whole(self.window, 1), "1, 2, ...")
        odd = is_whole(self.kernel, 1) and self.kernel % 2 == 1
        check("kernel", self.kernel, odd, "an odd number")

    def query_weights(self, num_tokens: int) -> Tensor:
        return (torch.arange(num_tokens) >= num_tokens - self.window).float()

    def ranks(self, seen: Seen) -> Tensor:
        return max_pool1d(seen.scores, self.kernel, stride=1, padding=self.kernel // 2)


@dataclass(frozen=True)
class TOVA(Method):
    kind = "tova"

    def query_weights(self, num_tokens: int) -> Tensor:
        return (torch.arange(num_tokens) == num_tokens - 1).float()

    def ranks(self, seen: Seen) -> Tensor:
        return seen.scores.mean(1, keepdim=True).expand_as(seen.scores)


@dataclass(frozen=True)
class A2SF(Method):
    kind = "a2sf"
    alpha: float = 0.9

    def __post_init__(self):
        check("alpha", self.alpha, 0.0 < self.alpha <= 1.0, "above 0, at most 1")

    def query_weights(self, num_tokens: int) -> Tensor:
        since = torch.arange(num_tokens - 1, -1, -1, dtype=torch.float64)
        return (self.alpha**since).float()


@dataclass(frozen=True)
class Sigmoid(Method):
    kind = "sigmoid"
    a: float = 0.1
    b: float = 16.0

    def __post_init__(self):
        check("a", self.a, 0.0 <= self.a < float("inf"), "0 or more")
        # Below 1 the newest query weighs less than a half too, and nothing where a is large.
        check("b", self.b, 1.0 <= self.b < float("inf"), "1 or more")

    def query_weights(self, num_tokens: int) -> Tensor:
        query = torch.arange(num_tokens, dtype=torch.float64)
        return torch.sigmoid(self.a * (query - (num_tokens - self.b - 0.5))).float()
