"""The prompts of a problem, by number: synthetic ones, or samples of a file.

Prompts of the splits "train", "validation" and "test" are different ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from marlserve.envs.kv_compression import arms, longbench_metrics
from marlserve.envs.kv_compression.longbench_templates import (
    MAX_ANSWER_TOKENS,
    context_text,
    question_text,
)
from marlserve.envs.sims.kv_compression import tasks
from marlserve.traces import longbench

if TYPE_CHECKING:  # the package of the simulator says what to do where the library is missing
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

# Of the documents of a file, in random order: a half to learn from, and two quarters.
_NO_CHAT, _REQUEST = ("few_shot", "code"), "<the request>"
_SHARES = {"train": slice(0, None, 2), "validation": slice(1, None, 4), "test": slice(3, None, 4)}


@dataclass(frozen=True)
class Prompt:
    """What is read, then compressed, and then asked."""

    tokens: Tensor  # [n] int64
    turns: tuple[tuple[Tensor, int], ...]  # (tokens to feed, how many to reply)
    type: int
    num_types: int
    budget: int  # entries that may stay in each layer and KV head
    longest: int  # tokens of the longest prompt that there can be
    special: frozenset[int]  # tokens that mean nothing by themselves
    score: Callable[[Tensor], float]  # of all replies [m]: how right they are, 0 to 1
    text: str = ""  # for an encoder; empty without a tokenizer

    @cached_property
    def numbers(self) -> np.ndarray:
        """The tokens, [n] int64."""
        return self.tokens.numpy()

    @cached_property
    def is_special(self) -> np.ndarray:
        """Which tokens are special, [n] bool."""
        return np.isin(self.numbers, list(self.special))


class Prompts(Protocol):
    """Prompts of one split."""

    @property
    def types(self) -> tuple[str, ...]: ...

    @property
    def end_token(self) -> int | None:
        """That ends a reply."""

    def __getitem__(self, index: int) -> Prompt: ...


class Synthetic:
    """Prompts of `tasks.Family`."""

    types = tasks.TYPES
    end_token = None

    def __init__(self, config):
        self._config, self._family = config, config.family()

    def __getitem__(self, index: int) -> Prompt:
        config = self._config
        drawn = self._family.prompt(config.prompt_seed, config.split, index)
        right = torch.from_numpy(np.concatenate([x.answer for x in drawn.turns]))
        return Prompt(
            tokens=torch.from_numpy(drawn.tokens),
            turns=tuple((torch.from_numpy(x.tokens), len(x.answer)) for x in drawn.turns),
            type=drawn.type,
            num_types=len(self.types),
            budget=_budget(config, index, len(drawn.tokens)),
            longest=config.prompt_tokens,
            special=tasks.SPECIAL_TOKENS,
            score=lambda replies: float((replies.cpu() == right).double().mean()),
        )


class LongBench:
    """Samples of a file of `marlserve.traces.longbench`; their types are its groups.

    What is compressed is the context, before the question is known. Half of the documents, in
    random order, are to learn from, with all that is asked about them; a quarter each is for
    validation and for the test. A tokenizer that has a template for chats puts it around a prompt,
    but for the sets that go on with what they are given, as in the benchmark.

    Raises:
        ValueError: for a model without a tokenizer, a bad file, or one with fewer samples than
            the problem asks for.
    """

    types = tuple(longbench.GROUPS)

    def __init__(self, config, tokenizer: "PreTrainedTokenizerBase | None"):
        if tokenizer is None:
            raise ValueError(
                f"model {config.model_name!r} has no tokenizer, and cannot read "
                f"{config.prompts_path!r}; allowed is a model with one"
            )
        self._config, self._tokenizer = config, tokenizer
        self.end_token = tokenizer.eos_token_id
        self._samples = split_samples(longbench.load(config.prompts_path), config)

    def __getitem__(self, index: int) -> Prompt:
        config, sample = self._config, self._samples[index]
        text = context_text(sample)
        before, after = self._chat(sample)
        context = self._tokenizer(before + text, add_special_tokens=not before).input_ids
        if len(context) > (most := config.max_prompt_tokens):
            context = context[: most - most // 2] + context[-(most // 2) :]
        asked = question_text(sample) + after
        question = self._tokenizer(asked, add_special_tokens=False).input_ids
        number = min(MAX_ANSWER_TOKENS[sample.dataset], config.answer_tokens)
        return Prompt(
            tokens=torch.tensor(context),
            turns=((torch.tensor(question), number),),
            type=self.types.index(sample.group),
            num_types=len(self.types),
            budget=_budget(config, index, len(context)),
            longest=config.max_prompt_tokens,
            special=frozenset(self._tokenizer.all_special_ids),
            score=lambda replies: longbench_metrics.score(sample, self._said(replies)),
            text=text,
        )

    def _said(self, replies: Tensor) -> str:
        return str(self._tokenizer.decode(replies, skip_special_tokens=True))

    def _chat(self, sample: longbench.Sample) -> tuple[str, str]:
        """What a template for chats puts before and after a request."""
        if not self._tokenizer.chat_template or sample.group in _NO_CHAT:
            return "", ""
        message = {"role": "user", "content": _REQUEST}
        text = self._tokenizer.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True
        )
        before, _, after = str(text).partition(_REQUEST)
        return before, after


def split_samples(samples: Sequence[longbench.Sample], config) -> list[longbench.Sample]:
    """The first `split_prompts` of the split's share of the samples.

    Raises:
        ValueError: if there are fewer.
    """
    together: dict[str, list[longbench.Sample]] = {}
    for sample in samples:
        together.setdefault(sample.document or sample.context, []).append(sample)
    groups = list(together.values())
    order = np.random.default_rng(config.prompt_seed).permutation(len(groups))
    share = [x for i in order[_SHARES[config.split]] for x in groups[i]]
    if len(share) < config.split_prompts:
        name = "train_prompts" if config.split_prompts != config.num_prompts else "num_prompts"
        raise ValueError(
            f"{name} is {config.split_prompts}; {config.prompts_path} has {len(share)} samples "
            f"for {config.split!r}"
        )
    return share[: config.split_prompts]


def _budget(config, index: int, num_tokens: int) -> int:
    """Drawn by the prompt's number, so that a prompt always has the same one."""
    generator = np.random.default_rng((config.prompt_seed, index))
    return arms.entries(num_tokens, config.budgets[generator.integers(len(config.budgets))])
