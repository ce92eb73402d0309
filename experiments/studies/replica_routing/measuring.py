"""How long passes of a decoder take on a GPU: the bound of `sims.replica_roofline`, measured.

Each pass is captured as a CUDA graph, as engines do of passes that decode, so that no time of the
host is in it; then it is replayed in a row. The file has what `calibration` reads (wall_ms is the
median of the replays) and

    model, gpu      which
    least_ms        of the fastest
    replays         how many there were
    energy_j        of a pass by the GPU's own meter, which NVIDIA's library (nvidia-ml-py) reads;
                    empty where that is not installed

What it is not: an engine. Weights are random, nothing schedules, no token is chosen, the cache has
no pages, and the attention of prompts is the one that PyTorch brings.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from marlserve.envs.sims.replica_roofline import MODELS
from marlserve.experiments.studies.replica_routing.decoder import Decoder, Pass

_WARM_UPS, _LEAST = 3, 5
_BATCHES = [2**i for i in range(9)]
_PROMPTS = [2**i for i in range(6, 14)]
_DECODING = [
    Pass(sequences=n, context=context)
    for context, n in itertools.product((256, 1_024, 4_096, 8_192), _BATCHES)
]
_PROMPT = [Pass(new, before) for before, new in itertools.product((0, 2_048, 8_192), _PROMPTS)]
_MIXED = [
    Pass(new, 0, n, context)
    for new, n, context in itertools.product((256, 1_024, 2_048), (16, 64), (1_024, 4_096))
]
PASSES = (*_DECODING, *_PROMPT, *_MIXED)


@dataclass(frozen=True)
class Measure:
    """Time passes of a model on the GPU of this machine; write them as `calibrate` reads them."""

    model: str = "llama_3_8b"  # its shape
    out: Path = Path("passes.csv")  # where to
    cache_tokens: int = 270_336  # that fit; passes with more are left out
    seconds: float = 0.5  # that a pass is repeated for

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"model": tuple(MODELS)}

    def run(self, study: object) -> None:
        if self.out.exists():
            raise ValueError(f"{self.out} is there already; name another file")
        if not torch.cuda.is_available():
            raise ValueError(f"PyTorch {torch.__version__} finds no GPU here")
        torch.manual_seed(0)
        decoder = Decoder(MODELS[self.model], self.cache_tokens)
        fitting = [one for one in PASSES if one.cached <= self.cache_tokens]
        rows: list[dict[str, Any]] = []
        for row in measured(decoder, fitting, self.seconds):
            rows.append({"model": self.model, "gpu": torch.cuda.get_device_name(), **row})
            pd.DataFrame(rows).to_csv(self.out, index=False, float_format="%.6g")
            print(" ".join(f"{name}={x:.6g}" for name, x in row.items()), flush=True)


def measured(
    decoder: Decoder, passes: Iterable[Pass], seconds: float
) -> Iterator[dict[str, float]]:
    """A row of the file for each."""
    for one in passes:
        tokens, positions = decoder.inputs(one)
        times_ms, energy_j = _repeated(decoder, partial(decoder, one, tokens, positions), seconds)
        yield {
            "wall_ms": float(np.median(times_ms)),
            "prefill_tokens": one.new,
            "prefill_att": one.attention,
            "decode_seqs": one.sequences,
            "decode_ctx": one.sequences * one.context,
            "least_ms": min(times_ms),
            "replays": len(times_ms),
            "energy_j": energy_j,
        }


def _repeated(
    decoder: Decoder, run: Callable[[], object], seconds: float
) -> tuple[list[float], float]:
    """Times in ms, and joules on average, of what is repeated for that long."""
    if decoder.device.type != "cuda":
        return _timed(run, seconds), math.nan
    beside = torch.cuda.Stream()
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UPS):
            run()
    beside.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    alone_ms = min(_replayed(graph, _WARM_UPS))
    before_j = _energy_j()
    times_ms = _replayed(graph, max(_LEAST, round(1e3 * seconds / alone_ms)))
    return times_ms, (_energy_j() - before_j) / len(times_ms)


def _replayed(graph: torch.cuda.CUDAGraph, times: int) -> list[float]:
    """How long each took, by the GPU's clock."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    events[0].record()
    for event in events[1:]:
        graph.replay()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in itertools.pairwise(events)]


def _timed(run: Callable[[], object], seconds: float) -> list[float]:
    """By the host's clock."""
    times_ms: list[float] = []
    while len(times_ms) < _LEAST or sum(times_ms) < 1e3 * seconds:
        began_s = time.perf_counter()
        run()
        times_ms.append(1e3 * (time.perf_counter() - began_s))
    return times_ms


def _energy_j() -> float:
    """That this GPU has used since its driver was loaded; NaN without the extra "nvml"."""
    try:
        import pynvml
    except ImportError:
        return math.nan
    pynvml.nvmlInit()
    name = f"GPU-{torch.cuda.get_device_properties().uuid}"
    return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(name)) / 1e3
