"""Prompts that a language model reads and answers now."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marlserve.envs.kv_compression import observation, rewards
from marlserve.envs.kv_compression.observation import BLOCKS, Measured, block_of
from marlserve.envs.kv_compression.prompts import LongBench, Prompt, Prompts, Synthetic
from marlserve.envs.sims.kv_compression import language_model
from marlserve.envs.sims.kv_compression.compression import (
    Prefill,
    answer,
    compressed,
    prefill,
)

OUTCOMES = ("agreement", "cosine", "score", "entries")


@dataclass(frozen=True)
class _Read:
    prompt: Prompt
    prefill: Prefill


class Live:
    """What becomes of prompts under each arm, found out by trying.

    Args:
        config: of the problem.
        remembered: prompts whose caches are kept until they are answered, so many at most.

    Attributes:
        types: names of the prompts' types.
    """

    def __init__(self, config, remembered: int = 1):
        self._config, self._arms = config, config.parsed_arms()
        self._asks_for_queries = any(arm.method.asks_for_queries for arm in self._arms)
        self._language = language_model.load(config.model_name, config.device)
        self._prompts = prompts_of(config)
        self.types = self._prompts.types
        self._remembered = remembered
        self._reads: OrderedDict[int, _Read] = OrderedDict()

    def __reduce__(self):
        """It travels without the model and the caches, which are made again."""
        return Live, (self._config, self._remembered)

    def type(self, index: int) -> int:
        """Which of the types a prompt is of."""
        read = self._reads.get(index)
        return (read.prompt if read else self._prompts[index]).type

    def measured(self, index: int) -> Measured:
        """What is known of a prompt once it is read."""
        read = self._read(index)
        return measured(read.prompt, read.prefill, tagged=self._config.tagged)

    def outcomes(self, index: int, arms: Sequence[int]) -> dict[str, np.ndarray]:
        """What becomes of a prompt under these arms: {name of OUTCOMES: [A] float32}."""
        return self.tried(index, arms)[0]

    def tried(self, index: int, arms: Sequence[int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Outcomes, and what was said: tokens [A + 1, m] int32, the last row by the full cache."""
        read = self._read(index)
        prompt, model = read.prompt, self._language.model
        end = self._prompts.end_token
        reference = answer(model, read.prefill.cache.copy(), prompt.turns, end)[0]
        answers = reference.repeat(len(arms), 1)
        number = len(prompt.tokens)
        entries = np.array([self._arms[i].entries(number, prompt.budget) for i in arms])
        # Nothing is evicted of what fits, and the answer is the full cache's.
        if rows := np.flatnonzero(entries < number).tolist():
            sums = [arms[row] for row in rows]
            methods = [self._arms[i].method for i in sums]
            budgets = entries[rows].tolist()
            cache = compressed(read.prefill, methods, sums, budgets, self._config.recent)
            answers[rows] = answer(model, cache, prompt.turns, end)
        length = rewards.answer_length(reference, end)
        counted = answers[:, :length]
        found = {
            "agreement": rewards.agreement(counted, reference[:length]),
            "cosine": self._cosine(counted, reference[:length]),
            "score": np.array([prompt.score(row) for row in answers]),
            "entries": entries,
        }
        said = torch.cat([answers, reference[None]]).cpu().numpy().astype(np.int32)
        return {name: values.astype(np.float32) for name, values in found.items()}, said

    def _read(self, index: int) -> _Read:
        """Read a prompt, unless that was done just now."""
        if index not in self._reads:
            prompt = self._prompts[index]
            number = len(prompt.tokens)
            by_arm = torch.stack([arm.method.query_weights(number) for arm in self._arms])
            weights = torch.cat([by_arm, query_weights(number)])
            read = prefill(self._language.model, prompt.tokens, weights, self._asks_for_queries)
            self._reads[index] = _Read(prompt, read)
            if len(self._reads) > self._remembered:
                self._reads.popitem(last=False)
        self._reads.move_to_end(index)
        return self._reads[index]

    def _cosine(self, answers: Tensor, reference: Tensor) -> np.ndarray:
        if not self._config.text_encoder:
            return rewards.token_cosine(answers, reference, self._language.model)
        tokenizer: Any = self._language.tokenizer  # one, or there would be no texts
        texts = tokenizer.batch_decode([*answers, reference], skip_special_tokens=True)
        return rewards.text_cosine(texts[:-1], texts[-1], observation.text_encoder(self._config))


def prompts_of(config) -> Prompts:
    """Those of a problem, read by its model."""
    if not config.prompts_path:
        return Synthetic(config)
    return LongBench(config, language_model.load(config.model_name, config.device).tokenizer)


def query_weights(num_tokens: int) -> Tensor:
    """The sums of attention that observations need: one row per block of queries, [BLOCKS, n]."""
    block = torch.from_numpy(block_of(num_tokens))
    return (block == torch.arange(BLOCKS)[:, None]).float()


def measured(prompt: Prompt, read: Prefill, tagged: bool) -> Measured:
    """What is known of a prompt, whose last sums of attention are those of `query_weights`."""
    states = read.hidden.double().cpu()
    return Measured(
        tokens=prompt.numbers,
        is_special=prompt.is_special,
        longest_tokens=prompt.longest,
        budget_entries=prompt.budget,
        named_type=prompt.type if tagged else -1,
        num_types=prompt.num_types,
        attention=read.scores[:, -BLOCKS:].double().mean((0, 2)).cpu().numpy(),
        hidden_mean=states.mean(0).numpy(),
        hidden_last_mean=states[-max(1, len(states) // 8) :].mean(0).numpy(),
        text=prompt.text,
    )
