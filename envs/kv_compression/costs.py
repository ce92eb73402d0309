"""What answers cost under each size of the cache, measured: a profile for the kv_cache problem.

    profile = costs.measured(config, watts=60.0)   # a marlserve.traces.kv_profile.KVProfile

Prompts are read and answered one at a time, by SnapKV's caches of 64 to 1,024 entries and by the
full one. Seconds run from the prompt to the last token of the answer; joules are those times the
watts given: what the device draws on average while it answers, or what its maker says.
"""

import time
from collections.abc import Callable, Iterable

import numpy as np
from torch import Tensor

from marlserve.envs.kv_compression import rewards
from marlserve.envs.kv_compression.live import prompts_of
from marlserve.envs.kv_compression.prompts import Prompt
from marlserve.envs.sims.kv_compression import language_model
from marlserve.envs.sims.kv_compression.compression import answer, compressed, prefill
from marlserve.envs.sims.kv_compression.methods import SnapKV
from marlserve.traces.kv_profile import CONFIGS, KVProfile

QUALITIES = ("agreement", "score")
_FULL = "fullkv"
_METHOD = SnapKV()


def measured(
    config,
    watts: float,
    quality: str = "agreement",
    track: Callable[[range], Iterable[int]] = iter,
) -> KVProfile:
    """The profile of the prompts of a problem's split.

    Args:
        config: of the problem; its arms and budgets have no effect.
        watts: 1 to 5,000.
        quality: "agreement" with the full cache's answer, or "score", of the task.
        track: shows how far it is.

    Raises:
        ValueError: for other watts and another quality, and as `Live`.
    """
    if not 1.0 <= watts <= 5000.0:
        raise ValueError(f"watts is {watts}; allowed is 1 to 5000")
    if quality not in QUALITIES:
        raise ValueError(f"quality is {quality!r}; allowed is one of {QUALITIES}")
    prompts = prompts_of(config)
    end, rows = prompts.end_token, []
    _answers(config, prompts[0], end)  # nobody waits for what is done once
    for index in track(range(config.num_prompts)):
        prompt = prompts[index]
        seconds, replies = _answers(config, prompt, end)
        length = rewards.answer_length(replies[-1], end)
        said = [row[:length] for row in replies]
        agreed = [rewards.agreement(row[None], said[-1])[0] for row in said]
        rows.append(
            (seconds, agreed if quality == "agreement" else list(map(prompt.score, replies)))
        )
    service_s, score = (np.array(values).T for values in zip(*rows, strict=True))
    return KVProfile(CONFIGS, service_s, watts * service_s, score)


def _answers(config, prompt: Prompt, end: int | None) -> tuple[list[float], list[Tensor]]:
    """Seconds and replies [m] of each of `CONFIGS`, each from a new reading of the prompt."""
    model = language_model.load(config.model_name, config.device).model
    weights = _METHOD.query_weights(len(prompt.tokens))[None]
    seconds, replies = [], []
    for name in CONFIGS:
        start_s = time.perf_counter()
        cache = (read := prefill(model, prompt.tokens, weights)).cache
        if name != _FULL:
            budget = int(name.removeprefix("snapkv_"))
            cache = compressed(read, [_METHOD], [0], budget, config.recent)
        replies.append(answer(model, cache, prompt.turns, end)[0].cpu())
        seconds.append(time.perf_counter() - start_s)
    return seconds, replies
