"""The timing and the cache of an engine on a named GPU, from what its makers say: a bound.

    engine(GPUS["h100"], MODELS["llama_3_8b"])

A pass reads all weights once, and computes 2 floating-point operations per parameter for each token
(Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1); whichever takes longer is its
time (the roofline of Williams et al. 2009, https://doi.org/10.1145/1498765.1498785):

    max(weight bytes / bandwidth, tokens x 2 parameters / speed)
    + context x KV bytes per token / bandwidth
    + attention x 4 layers x heads x head size / speed

Attention reads the keys and values of all that decode, two vectors per layer and KV head for each
token of their context, and multiplies and adds twice for each pair of a new token and one before it
(Pope et al. 2022, https://arxiv.org/abs/2211.05102, section 2 and appendix). `attainable` is the
share of both speeds that an engine reaches; 1 is what none does.
"""

from dataclasses import dataclass

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
    """The shape of a dense transformer with grouped queries."""

    parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_size: int

    @property
    def weight_bytes(self) -> float:
        return _NUMBER_BYTES * self.parameters

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
MODELS = {"llama_3_8b": Model(8.03e9, layers=32, heads=32, kv_heads=8, head_size=128)}


def timing(gpu: GPU, model: Model, attainable: float = 1.0) -> TableTiming:
    """Of a pass of this model on this GPU.

    Raises:
        ValueError: for a share that is not above 0 and at most 1.
    """
    if not 0.0 < attainable <= 1.0:
        raise ValueError(f"attainable is {attainable}; it must be above 0, and at most 1")
    flops_per_ms, bytes_per_ms = (1e-3 * attainable * x for x in (gpu.flops_per_s, gpu.bytes_per_s))
    reading_ms = model.weight_bytes / bytes_per_ms
    knee = reading_ms * flops_per_ms / (2.0 * model.parameters)  # tokens that take as long
    return TableTiming(
        tokens=(knee, 2.0 * knee),
        ms=(reading_ms, 2.0 * reading_ms),
        per_context_ms=model.kv_bytes_per_token / bytes_per_ms,
        per_attention_ms=4.0 * model.layers * model.heads * model.head_size / flops_per_ms,
    )


def engine(
    gpu: GPU, model: Model, attainable: float = 1.0, memory_share: float = 0.9, **limits
) -> Engine:
    """An engine whose cache has what the weights leave of a share of the memory.

    Args:
        gpu: which.
        model: which.
        attainable: see above.
        memory_share: that the engine may have; vLLM's default.
        limits: other fields of `Engine`.

    Raises:
        ValueError: if the weights leave no block, and see `timing` and `Engine`.
    """
    block_tokens = limits.get("block_tokens", Engine.block_tokens)
    left_bytes = memory_share * gpu.memory_bytes - model.weight_bytes
    num_blocks = int(left_bytes // (model.kv_bytes_per_token * block_tokens))
    if num_blocks < 1:
        raise ValueError(
            f"{memory_share} of {gpu.memory_bytes:.3g} bytes are {left_bytes:.3g} more than the "
            "weights; a block needs more"
        )
    return Engine(num_blocks=num_blocks, timing=timing(gpu, model, attainable), **limits)
