"""What replicas can hold and compute, and what gateways take that to be.

Without GPUs all have the Config's timing, which may be that of an engine that was measured, but for
their speeds. On GPUs each has the passes that
`sims.replica_roofline` makes of its data sheet and of the shares that an H100 was measured to
reach, which others are taken to reach as well, and the cache that the model's weights leave. A
GPU's speed is its bandwidth over that of the fleet's fastest, which is what a step of decoding
takes; how much faster or slower it reads a prompt is in its own timing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from marlserve.envs.sims.replica import Engine, TableTiming, Timing
from marlserve.envs.sims.replica_roofline import GPUS, MEASURED, MODELS, engine


class Lines(NamedTuple):
    """Seconds of passes of a replica of speed 1, linearly: one for all, or [R]."""

    prefill_s: Any
    per_new_s: Any
    decode_s: Any
    per_context_s: Any


def speeds(config: Any) -> tuple[float, ...]:
    """Of each replica, by its GPU too."""
    if not config.gpus:
        return config.speeds
    return tuple(x * y for x, y in zip(config.speeds, _of_fastest(config.gpus), strict=True))


def engines(config: Any) -> tuple[Engine, ...]:
    """Of each replica at speed 1.

    Raises:
        ValueError: if the weights do not fit into the memory of a GPU.
    """
    alike = Engine(
        config.block_tokens,
        config.num_blocks,
        config.max_num_seqs,
        config.max_num_batched_tokens,
        timing=config.timing,
    )
    if not config.gpus:
        return (alike,) * config.num_replicas
    of_gpus = []
    for name, speed in zip(config.gpus, _of_fastest(config.gpus), strict=True):
        model, size = MODELS[config.model_shape], config.block_tokens
        on_gpu = engine(GPUS[name], model, MEASURED, block_tokens=size)
        num_blocks = min(config.num_blocks, on_gpu.num_blocks)
        timing = _times(on_gpu.timing, speed)
        of_gpus.append(replace(alike, num_blocks=num_blocks, timing=timing))
    return tuple(of_gpus)


def lines(config: Any) -> Lines:
    """That gateways estimate by. Of a table, a prompt takes a pass without one, and what the table
    rises by per token in the end."""
    if not config.gpus:
        return Lines(*_line(config.timing))
    return Lines(*np.array([_line(one.timing) for one in config.engines]).T)


def _of_fastest(gpus: Sequence[str]) -> list[float]:
    """Their bandwidths over the largest one."""
    bytes_per_s = [GPUS[name].bytes_per_s for name in gpus]
    return [each / max(bytes_per_s) for each in bytes_per_s]


def _times(timing: Any, factor: float) -> TableTiming:
    return TableTiming(
        timing.tokens,
        tuple(factor * ms for ms in timing.ms),
        factor * timing.per_context_ms,
        factor * timing.per_attention_ms,
    )


def _line(timing: Timing | TableTiming) -> tuple[float, float, float, float]:
    if isinstance(timing, Timing):
        per_context_s = timing.per_context_ms / 1e3 / timing.context_unit
        return (
            *(timing.prefill_ms / 1e3, timing.per_new_ms / 1e3),
            *(timing.decode_ms / 1e3, per_context_s),
        )
    rises = np.diff(timing.ms) / np.diff(timing.tokens)
    rise_ms = float(rises[-1]) if len(rises) else 0.0
    one_s = timing.ms[0] / 1e3
    return one_s, rise_ms / 1e3, one_s, timing.per_context_ms / 1e3
