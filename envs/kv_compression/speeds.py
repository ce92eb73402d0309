"""What caches hold and how fast a model goes on with them, and what it takes to look at a prompt.

    speeds.decoding(config, energy.meter("cuda:0"))     # one row for each cache and batch
    speeds.looking(config)                              # {what: milliseconds}

Both read the first prompts of a problem's split. On a GPU, time is what a clock on the wall shows,
all work done; on a CPU it is what the process has computed, on one core or several together, which
does not depend on what else runs there.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marlserve.envs.kv_compression import live, observation
from marlserve.envs.kv_compression.costs import cache_of
from marlserve.envs.kv_compression.energy import Meter
from marlserve.envs.kv_compression.live import prompts_of
from marlserve.envs.sims.kv_compression import language_model
from marlserve.envs.sims.kv_compression.cache import EvictingCache
from marlserve.envs.sims.kv_compression.compression import answer, prefill
from marlserve.envs.sims.kv_compression.methods import SnapKV
from marlserve.traces.kv_profile import CONFIGS

BATCHES, TOKENS = (1, 8), 64
_SHARE = 0.1  # of the prompt, which is in the cache that is decoded with


@dataclass(frozen=True)
class Decoding:
    """Answers of `TOKENS` tokens, as many side by side as the batch is large.

    Attributes:
        cache: of `kv_profile.CONFIGS`.
        prompt_tokens: that each was cut out of.
        mbytes: keys and values of the whole batch before the first token, in 10^6 bytes.
        tokens_per_s: of all rows together.
        joules_per_token: likewise.
    """

    cache: str
    batch: int
    prompt_tokens: int
    mbytes: float
    tokens_per_s: float
    joules_per_token: float


def decoding(
    config, meter: Meter, track: Callable[[range], Iterable[int]] = iter
) -> list[Decoding]:
    """Of the longest prompt of a split, read once, and its last token as what is fed next."""
    model = language_model.load(config.model_name, config.device).model
    prompts = prompts_of(config)
    tokens = max((prompts[i].tokens for i in range(config.split_prompts)), key=len)
    read = prefill(model, tokens[:-1], SnapKV().query_weights(len(tokens) - 1)[None])
    turn, rows = [(tokens[-1:], TOKENS)], []
    for i in track(range(len(BATCHES) * len(CONFIGS))):
        batch, name = BATCHES[i // len(CONFIGS)], CONFIGS[i % len(CONFIGS)]
        answer(model, cache_of(name, read, config.recent, batch), [(tokens[-1:], 4)])
        cache = cache_of(name, read, config.recent, batch)
        mbytes, before_j = _bytes(cache) / 1e6, meter.joules()
        start_s = _now_s(config.device)
        answer(model, cache, turn)
        seconds, joules = _now_s(config.device) - start_s, meter.joules() - before_j
        count = batch * TOKENS
        rows.append(Decoding(name, batch, len(tokens), mbytes, count / seconds, joules / count))
    return rows


def looking(config, track: Callable[[range], Iterable[int]] = iter) -> dict[str, float]:
    """Milliseconds, the median over the prompts: of the prefill, without and with the sums of
    attention that some groups of a context ask for, of a decoding step with a tenth of the cache,
    and of each group of `observation.GROUPS`; "text" only where there is an encoder, on the
    config's device.

    The groups are computed on the CPU, from what is `Measured`.
    """
    model = language_model.load(config.model_name, config.device).model
    prompts, device = prompts_of(config), config.device
    groups = [name for name in observation.GROUPS if name != "text" or config.text_encoder]
    rows: dict[str, list[float]] = {}
    for index in track(range(config.split_prompts)):
        prompt = prompts[index]
        number = len(prompt.tokens)
        sums = live.query_weights(number)
        read = prefill(model, prompt.tokens, sums)
        seen = live.measured(prompt, read, config.tagged)
        tenth = cache_of(f"snapkv_{round(_SHARE * number)}", read, config.recent)
        work: dict[str, Callable[[], object]] = {
            "prefill": partial(_read, model, prompt.tokens),
            "prefill, attention summed": partial(prefill, model, prompt.tokens, sums),
            "decoding step": partial(answer, model, tenth, [(prompt.tokens[-1:], 1)]),
            **{name: partial(observation.group, seen, name, config) for name in groups},
        }
        for name, done in work.items():
            rows.setdefault(name, []).append(_seconds(done, device))
    return {name: 1e3 * float(np.median(values)) for name, values in rows.items()}


@torch.inference_mode()
def _read(model: Any, tokens: Tensor) -> None:
    """As any engine does, keeping no account of attention."""
    cache = EvictingCache(model.config.num_hidden_layers)
    model.base_model(tokens.to(model.device)[None], past_key_values=cache, use_cache=True)


def _seconds(work: Callable[[], object], device: str) -> float:
    """What it takes, when done for the second time."""
    work()
    start_s = _now_s(device)
    work()
    return _now_s(device) - start_s


def _now_s(device: str) -> float:
    place = torch.device(device)
    if place.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(place)
    return time.perf_counter()


def _bytes(cache: EvictingCache) -> int:
    tensors: list[Tensor] = [x for layer in cache.layers for x in (layer.keys, layer.values)]
    return sum(x.nelement() * x.element_size() for x in tensors)
