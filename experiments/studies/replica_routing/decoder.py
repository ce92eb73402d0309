"""A decoder of the Llama kind, computed as an engine computes a pass: all tokens in one go.

    decoder = Decoder(MODELS["llama_3_8b"], cache_tokens=300_000, device="cuda")
    logits = decoder(Pass(new=512, before=2_048, sequences=16, context=1_000))

A pass has the next `new` tokens of one prompt, of which `before` are in the cache, and one token of
each of `sequences` that decode and attend to `context`. Weights, tokens and the cache are random.
What takes an engine's time is there: matrices of queries, keys and values in one, and of both gates
in one; norms, rotations and gates in one kernel each (compiled, on a GPU); keys and values written
to the cache and read from it; FlashAttention, with grouped queries; logits of last tokens alone.
What is not there: pages of the cache (it lies in one piece for each sequence), and the choice of a
token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right

from marlserve.envs.sims.replica_roofline import Model

_EPS = 1e-5
_THETA = 500_000.0  # of Llama 3's rotations


@dataclass(frozen=True)
class Pass:
    """What an engine computes in one go."""

    new: int = 0
    before: int = 0
    sequences: int = 0
    context: int = 0

    @property
    def cached(self) -> int:
        """Tokens in the cache at its end."""
        return self.before + self.new + self.sequences * self.context

    @property
    def attention(self) -> float:
        """Pairs of a new token of the prompt and one that it attends to."""
        return self.new * (self.before + self.new / 2)


@dataclass
class Layer:
    """Its matrices, [out, in], its norms, and its keys and values."""

    qkv: Tensor
    out: Tensor
    gates: Tensor
    down: Tensor
    attention_norm: Tensor
    gates_norm: Tensor
    cache: Tensor = field(repr=False)  # [2, tokens, kv_heads, head_size]


class Decoder:
    """See above.

    Args:
        model: its shape.
        cache_tokens: for which there is room.
        device: where.
        dtype: of all numbers.
    """

    def __init__(
        self,
        model: Model,
        cache_tokens: int,
        device: str = "cuda",
        dtype: torch.dtype = torch.bfloat16,
    ):
        self.model, self.device = model, torch.device(device)
        wide, size = model.hidden_size, model.head_size

        def numbers(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        def matrix(rows: int, columns: int) -> Tensor:
            return numbers(rows, columns).normal_(std=1.0 / math.sqrt(columns))

        self.layers = [
            Layer(
                matrix((model.heads + 2 * model.kv_heads) * size, wide),
                matrix(wide, model.heads * size),
                matrix(2 * model.gate_size, wide),
                matrix(wide, model.gate_size),
                numbers(wide).fill_(1.0),
                numbers(wide).fill_(1.0),
                numbers(2, cache_tokens, model.kv_heads, size).normal_(),
            )
            for _ in range(model.layers)
        ]
        self.embedding = numbers(model.vocabulary, wide).normal_()
        self.last_norm, self.head = numbers(wide).fill_(1.0), matrix(model.vocabulary, wide)
        turns = _THETA ** -(torch.arange(0, size, 2, device=device).float() / size)
        angles = torch.arange(cache_tokens, device=device).float()[:, None] * turns
        self._cos, self._sin = angles.cos().to(dtype), angles.sin().to(dtype)  # [tokens, size / 2]
        on_gpu = self.device.type == "cuda"
        fused: Callable[..., Any] = partial(torch.compile, dynamic=True) if on_gpu else _as_it_is
        self._normed: Callable[..., tuple[Tensor, Tensor]] = fused(_normed)
        self._rotated: Callable[..., Tensor] = fused(_rotated)
        self._gated: Callable[..., Tensor] = fused(_gated)
        self._attention = [SDPBackend.FLASH_ATTENTION, *([] if on_gpu else [SDPBackend.MATH])]

    def inputs(self, one: Pass) -> tuple[Tensor, Tensor]:
        """Random tokens, and where they are in their sequences: [new + sequences]."""
        count = one.new + one.sequences
        tokens = torch.randint(self.model.vocabulary, (count,), device=self.device)
        positions = torch.full((count,), one.context - 1, device=self.device)
        positions[: one.new] = one.before + torch.arange(one.new, device=self.device)
        return tokens, positions

    @torch.inference_mode()
    def __call__(self, one: Pass, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits after the prompt's last token, if it has any, and each decoding sequence's."""
        rest = F.embedding(tokens, self.embedding)
        cos, sin = self._cos[positions, None], self._sin[positions, None]  # [tokens, 1, size / 2]
        x = F.rms_norm(rest, rest.shape[-1:], self.layers[0].attention_norm, _EPS)
        norms = [*(layer.attention_norm for layer in self.layers[1:]), self.last_norm]
        for layer, next_norm in zip(self.layers, norms, strict=True):
            x = F.linear(self._attended(one, layer, x, cos, sin), layer.out)
            rest, x = self._normed(rest, x, layer.gates_norm)
            x = F.linear(self._gated(F.linear(x, layer.gates)), layer.down)
            rest, x = self._normed(rest, x, next_norm)
        return F.linear(x[max(one.new - 1, 0) :], self.head)

    def _attended(self, one: Pass, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        model, new = self.model, one.new
        qkv = F.linear(x, layer.qkv).unflatten(-1, (-1, model.head_size))  # [tokens, heads, size]
        rotated = self._rotated(qkv[:, : -model.kv_heads], cos, sin)
        queries, keys = rotated.split((model.heads, model.kv_heads), dim=1)
        values, found = qkv[:, -model.kv_heads :], []
        to = one.before + new
        with sdpa_kernel(self._attention):
            if new:
                for cached, made in zip(layer.cache, (keys, values), strict=True):
                    cached[one.before : to] = made[:new]
                k, v = (cached[:to].transpose(0, 1)[None] for cached in layer.cache)
                q, mask = queries[:new].transpose(0, 1)[None], causal_lower_right(new, to)
                read = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
                found.append(read[0].transpose(0, 1).flatten(1))
            if one.sequences:
                decoding = layer.cache[:, to : one.cached].unflatten(1, (one.sequences, -1))
                for cached, made in zip(decoding, (keys, values), strict=True):
                    cached[:, -1] = made[new:]
                k, v = (cached.transpose(1, 2) for cached in decoding)
                q = queries[new:].unflatten(1, (model.kv_heads, -1))  # those of a group in a row
                found.append(F.scaled_dot_product_attention(q, k, v).flatten(1))
        return torch.cat(found) if len(found) > 1 else found[0]


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _normed(rest: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The sum, and the same at unit scale: https://arxiv.org/abs/1910.07467."""
    rest = rest + x
    return rest, F.rms_norm(rest, rest.shape[-1:], weight, _EPS)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """By position: https://arxiv.org/abs/2104.09864."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def _gated(x: Tensor) -> Tensor:
    """SwiGLU: https://arxiv.org/abs/2002.05202."""
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up
