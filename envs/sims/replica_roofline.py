"""The timing and the cache of an engine on a named GPU: a bound by data sheets, or near what was
measured.

    engine(GPUS["h100"], MODELS["llama_3_8b"])             # no engine is faster
    engine(GPUS["h100"], MODELS["llama_3_8b"], MEASURED)   # about as fast as a plain decoder is

A pass reads all weights once, but for those of tokens that it has not, and each token is multiplied
with those of all layers (2 floating-point operations per weight: Kaplan et al. 2020,
https://arxiv.org/abs/2001.08361, section 2.1); whichever takes longer is its time (the roofline of
Williams et al. 2009, https://doi.org/10.1145/1498765.1498785):

    max(bytes read / bandwidth, tokens x 2 weights of layers / speed)
    + context x KV bytes per token / bandwidth
    + attention x 4 layers x heads x head size / speed

Attention reads the keys and values of all that decode, two vectors per layer and KV head for each
token of their context, and multiplies and adds twice for each pair of a new token and one before it
(Pope et al. 2022, https://arxiv.org/abs/2211.05102, section 2 and appendix). `Reached` has the
shares of bandwidth and speed that are reached; 1 is what none does.
"""

from dataclasses import dataclass, fields

from marlserve.envs.sims.replica import Engine
from marlserve.envs.sims.replica_timing import TableTiming

_NUMBER_BYTES = 2  # of weights, keys and values: bfloat16


@dataclass(frozen=True)
class GPU:
    """Its data sheet."""

    flops_per_s: float  # dense, bfloat16
    bytes_per_s: float  # of its memory
    memory_bytes: float


@dataclass(frozen=True)
class Model:
    """The shape of a dense transformer of the Llama kind, with grouped queries and gated layers."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden_size: int
    gate_size: int  # of what is between the two matrices of a feed-forward layer
    vocabulary: int

    @property
    def layer_parameters(self) -> int:
        """Of all layers."""
        attention = self.hidden_size * self.head_size * 2 * (self.heads + self.kv_heads)
        gated = 3 * self.hidden_size * self.gate_size
        return self.layers * (attention + gated + 2 * self.hidden_size)

    @property
    def parameters(self) -> int:
        """With those of tokens, before and after the layers, and the last norm."""
        return self.layer_parameters + self.hidden_size * (2 * self.vocabulary + 1)

    @property
    def weight_bytes(self) -> int:
        return _NUMBER_BYTES * self.parameters

    @property
    def read_bytes(self) -> int:
        """Of a pass: all but those of the tokens that it has not."""
        return self.weight_bytes - _NUMBER_BYTES * self.vocabulary * self.hidden_size

    @property
    def kv_bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_heads * self.head_size * _NUMBER_BYTES


# NVIDIA's data sheets of the A100 80GB SXM, the H100 SXM, and the L4; figures with sparsity are
# halved.
GPUS = {
    "a100": GPU(312e12, 2_039e9, 80e9),
    "h100": GPU(989e12, 3_350e9, 80e9),
    "l4": GPU(121e12, 300e9, 24e9),
}
# Table 3 of https://arxiv.org/abs/2407.21783.
MODELS = {
    "llama_3_8b": Model(
        layers=32,
        heads=32,
        kv_heads=8,
        head_size=128,
        hidden_size=4096,
        gate_size=14_336,
        vocabulary=128_256,
    )
}


@dataclass(frozen=True)
class Reached:
    """Shares of what the data sheet says.

    Raises:
        ValueError: for one that is not above 0 and at most 1.
    """

    bandwidth: float = 1.0
    layers: float = 1.0  # of the speed, by all that is not attention
    attention: float = 1.0  # of the speed, by the attention of prompts

    def __post_init__(self):
        for field in fields(self):
            if not 0.0 < (value := getattr(self, field.name)) <= 1.0:
                raise ValueError(f"{field.name} is {value}; it must be above 0, and at most 1")


BOUND = Reached()
# By a plain decoder with the shape of Llama 3 8B on an H100: experiments/replica_routing.py measure
# and bound.
MEASURED = Reached(bandwidth=0.69, layers=0.53, attention=0.36)


def timing(gpu: GPU, model: Model, reached: Reached = BOUND) -> TableTiming:
    """Of a pass of this model on this GPU."""
    bytes_per_ms = 1e-3 * reached.bandwidth * gpu.bytes_per_s
    flops_per_ms = 1e-3 * gpu.flops_per_s
    reading_ms = model.read_bytes / bytes_per_ms
    token_ms = 2.0 * model.layer_parameters / (reached.layers * flops_per_ms)
    knee = reading_ms / token_ms  # tokens that take as long
    pair = 4.0 * model.layers * model.heads * model.head_size
    return TableTiming(
        tokens=(knee, 2.0 * knee),
        ms=(reading_ms, 2.0 * reading_ms),
        per_context_ms=model.kv_bytes_per_token / bytes_per_ms,
        per_attention_ms=pair / (reached.attention * flops_per_ms),
    )


def engine(
    gpu: GPU, model: Model, reached: Reached = BOUND, memory_share: float = 0.9, **limits
) -> Engine:
    """An engine whose cache has what the weights leave of a share of the memory.

    Args:
        gpu: which.
        model: which.
        reached: shares of bandwidth and speed.
        memory_share: that the engine may have; vLLM's default.
        limits: other fields of `Engine`.

    Raises:
        ValueError: if the weights leave no block, and see `Engine`.
    """
    block_tokens = limits.get("block_tokens", Engine.block_tokens)
    left_bytes = memory_share * gpu.memory_bytes - model.weight_bytes
    num_blocks = int(left_bytes // (model.kv_bytes_per_token * block_tokens))
    if num_blocks < 1:
        raise ValueError(
            f"{memory_share} of {gpu.memory_bytes:.3g} bytes are {left_bytes:.3g} more than the "
            "weights; a block needs more"
        )
    return Engine(num_blocks=num_blocks, timing=timing(gpu, model, reached), **limits)
