"""What stays in a compressed KV cache: one small class for each method.

A method looks at the attention of the prompt's own queries. Key k of a KV head scores

    s(k) = sum over queries q of  w(q) * P(q, k),

with P the attention probabilities, summed over the query heads that share the KV head. Methods
differ by the weights w of the queries, and by what they make of the scores. The newest `recent`
entries stay in any case, and of the others those of the highest rank, so many as the budget allows.

    full                      nothing is evicted
    window_<sinks>            the first few and the newest tokens; no attention
                              (StreamingLLM: Xiao et al. 2024, https://arxiv.org/abs/2309.17453)
    h2o                       w = 1: accumulated attention
                              (Zhang et al. 2023, https://arxiv.org/abs/2306.14048)
    snapkv_<window>_<kernel>  the queries of a window vote, scores are max-pooled over neighbours
                              (Li et al. 2024, https://arxiv.org/abs/2404.14469; there all of
                              the window stays, here `recent` of it)
    tova                      the last query votes; all heads of a layer keep the same tokens
                              (Oren et al. 2024, https://arxiv.org/abs/2401.06104)
    a2sf_<alpha>              w = alpha ** (queries since): attention is forgotten
                              (Jo and Shin 2024, https://arxiv.org/abs/2407.20485)
    sigmoid_<a>_<b>           w = sigmoid(a * (q - (n - b - 0.5))): the last b queries of n weigh
                              more than a half, and a says how steeply that begins; a of 0 is h2o
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d


class Method:
    """Gives the ranks of entries; the default is their score with all queries alike."""

    evicts = True

    @property
    def name(self) -> str:
        """What `parse` makes the method of."""
        return "_".join([NAMES[type(self)], *map(_text, vars(self).values())])

    def query_weights(self, num_tokens: int) -> Tensor:
        """w, [n] float32, not negative."""
        return torch.ones(num_tokens)

    def ranks(self, scores: Tensor) -> Tensor:
        """What to keep first is ranked highest: [kv_heads, n] of scores [kv_heads, n]."""
        return scores


@dataclass(frozen=True)
class Full(Method):
    evicts = False


@dataclass(frozen=True)
class Window(Method):
    sinks: int = 4

    def __post_init__(self):
        _check("sinks", self.sinks, isinstance(self.sinks, int) and self.sinks >= 0, "0, 1, 2, ...")

    def query_weights(self, num_tokens: int) -> Tensor:
        return torch.zeros(num_tokens)

    def ranks(self, scores: Tensor) -> Tensor:
        position = torch.arange(scores.shape[-1], device=scores.device)
        first = 2 * len(position) - position  # above all others, the first sink highest
        return torch.where(position < self.sinks, first, position).expand_as(scores)


@dataclass(frozen=True)
class H2O(Method):
    pass


@dataclass(frozen=True)
class SnapKV(Method):
    window: int = 16
    kernel: int = 7  # neighbours that share their highest score

    def __post_init__(self):
        _check(
            "window", self.window, isinstance(self.window, int) and self.window >= 1, "1, 2, ..."
        )
        odd = isinstance(self.kernel, int) and self.kernel >= 1 and self.kernel % 2 == 1
        _check("kernel", self.kernel, odd, "an odd number")

    def query_weights(self, num_tokens: int) -> Tensor:
        return (torch.arange(num_tokens) >= num_tokens - self.window).float()

    def ranks(self, scores: Tensor) -> Tensor:
        return max_pool1d(scores, self.kernel, stride=1, padding=self.kernel // 2)


@dataclass(frozen=True)
class TOVA(Method):
    def query_weights(self, num_tokens: int) -> Tensor:
        return (torch.arange(num_tokens) == num_tokens - 1).float()

    def ranks(self, scores: Tensor) -> Tensor:
        return scores.mean(0, keepdim=True).expand_as(scores)


@dataclass(frozen=True)
class A2SF(Method):
    alpha: float = 0.9

    def __post_init__(self):
        _check("alpha", self.alpha, 0.0 < self.alpha <= 1.0, "above 0, at most 1")

    def query_weights(self, num_tokens: int) -> Tensor:
        since = torch.arange(num_tokens - 1, -1, -1, dtype=torch.float64)
        return (self.alpha**since).float()


@dataclass(frozen=True)
class Sigmoid(Method):
    a: float = 0.1
    b: float = 16.0

    def __post_init__(self):
        _check("a", self.a, 0.0 <= self.a < float("inf"), "0 or more")
        # Below 1 the newest query weighs less than a half too, and nothing where a is large.
        _check("b", self.b, 1.0 <= self.b < float("inf"), "1 or more")

    def query_weights(self, num_tokens: int) -> Tensor:
        query = torch.arange(num_tokens, dtype=torch.float64)
        return torch.sigmoid(self.a * (query - (num_tokens - self.b - 0.5))).float()


NAMES: dict[type[Method], str] = {
    Full: "full",
    Window: "window",
    H2O: "h2o",
    SnapKV: "snapkv",
    TOVA: "tova",
    A2SF: "a2sf",
    Sigmoid: "sigmoid",
}


def parse(name: str) -> Method:
    """The method of a name, such as "sigmoid_0.1_16"; parameters that are left out are defaults.

    Raises:
        ValueError: for an unknown method or a bad parameter.
    """
    kind, *parameters = name.split("_")
    classes = {text: cls for cls, text in NAMES.items()}
    if kind not in classes:
        raise ValueError(f"{name!r} is no compression method; there are {sorted(classes)}")
    try:
        return classes[kind](*map(_number, parameters))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r} is no compression method: {error}") from error


def grid(a_values: tuple[float, ...], b_values: tuple[float, ...]) -> tuple[str, ...]:
    """Names of all sigmoids of these parameters, each once; all those with an a of 0 are h2o.

    Raises:
        ValueError: for a bad parameter.
    """
    return tuple(dict.fromkeys(canonical(Sigmoid(a, b)).name for a in a_values for b in b_values))


def canonical(method: Method) -> Method:
    """The simplest method that keeps the same entries."""
    flat = (isinstance(method, Sigmoid) and method.a == 0) or method == A2SF(1.0)
    return H2O() if flat else method


def _text(value: float | int) -> str:
    """The shortest that `_number` makes the value of."""
    return str(value).removesuffix(".0")


def _number(text: str) -> float | int:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}")
