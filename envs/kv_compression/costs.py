"""What answers cost under each size of the cache, measured: a profile for the kv_cache problem.

    profile = costs.measured(config, energy.meter("cuda:0"))   # traces.kv_profile.KVProfile

Prompts are read and answered one at a time, by SnapKV's caches of 64 to 1,024 entries and by the
full one. Seconds run from the prompt to the last token of the answer; joules are what `energy`
counts meanwhile. What caches hold and how fast they answer side by side is in `speeds`.
"""

import time
from collections.abc import Callable, Iterable

import numpy as np
from torch import Tensor

from marlserve.envs.kv_compression import rewards
from marlserve.envs.kv_compression.energy import Meter
from marlserve.envs.kv_compression.live import prompts_of
from marlserve.envs.kv_compression.prompts import Prompt
from marlserve.envs.sims.kv_compression import language_model
from marlserve.envs.sims.kv_compression.cache import EvictingCache
from marlserve.envs.sims.kv_compression.compression import Prefill, answer, compressed, prefill
from marlserve.envs.sims.kv_compression.methods import SnapKV
from marlserve.traces.kv_profile import CONFIGS, KVProfile

QUALITIES = ("agreement", "score")
_FULL = "fullkv"
_METHOD = SnapKV()


def measured(
    config,
    meter: Meter,
    quality: str = "agreement",
    repeats: int = 1,
    track: Callable[[range], Iterable[int]] = iter,
) -> KVProfile:
    """The profile of the prompts of a problem's split.

    Args:
        config: of the problem; its arms and budgets have no effect.
        meter: of the device.
        quality: "agreement" with the full cache's answer, or "score", of the task.
        repeats: times that each answer is measured, at least 1; the mean counts.
        track: shows how far it is.

    Raises:
        ValueError: for another quality or number of repeats, and as `Live`.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; allowed is at least 1")
    if quality not in QUALITIES:
        raise ValueError(f"quality is {quality!r}; allowed is one of {QUALITIES}")
    prompts = prompts_of(config)
    end, rows = prompts.end_token, []
    _answers(config, meter, prompts[0], end, 1)  # nobody waits for what is done once
    for index in track(range(config.split_prompts)):
        prompt = prompts[index]
        seconds, joules, replies = _answers(config, meter, prompt, end, repeats)
        length = rewards.answer_length(replies[-1], end)
        said = [row[:length] for row in replies]
        agreed = [rewards.agreement(row[None], said[-1])[0] for row in said]
        scores = agreed if quality == "agreement" else list(map(prompt.score, replies))
        rows.append((seconds, joules, scores))
    return KVProfile(CONFIGS, *(np.array(values).T for values in zip(*rows, strict=True)))


def _answers(
    config, meter: Meter, prompt: Prompt, end: int | None, repeats: int
) -> tuple[list[float], list[float], list[Tensor]]:
    """Seconds, joules and replies [m] of each of `CONFIGS`, from new readings of the prompt."""
    model = language_model.load(config.model_name, config.device).model
    weights = _METHOD.query_weights(len(prompt.tokens))[None]
    seconds, joules, replies = [], [], []
    for name in CONFIGS:
        before_j, start_s = meter.joules(), time.perf_counter()
        for _ in range(repeats):
            read = prefill(model, prompt.tokens, weights)
            cache = read.cache if name == _FULL else cache_of(name, read, config.recent)
            reply = answer(model, cache, prompt.turns, end)[0].cpu()
        seconds.append((time.perf_counter() - start_s) / repeats)
        joules.append((meter.joules() - before_j) / repeats)
        replies.append(reply)
    return seconds, joules, replies


def cache_of(name: str, read: Prefill, recent: int, rows: int = 1) -> EvictingCache:
    """The cache of one of `CONFIGS`, so many times side by side."""
    number = read.scores.shape[-1]
    budget = number if name == _FULL else int(name.removeprefix("snapkv_"))
    return compressed(read, [_METHOD] * rows, [0] * rows, budget, min(recent, budget))
