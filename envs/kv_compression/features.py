"""What a policy sees of a prompt, in groups that a Config may choose from.

All values are in [-1, 1]. Blocks and windows are shares of the prompt, so that prompts of any
length have equally many features. Special tokens do not count.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marlserve.envs.kv_compression.prompts import Prompt
from marlserve.envs.sims.kv_compression.compression import Prefill
from marlserve.envs.sims.text_encoder import TextEncoder

BLOCKS = 16
# Shares of the prompt.
_ENDS, _WIDTHS = (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4), (1 / 16, 1 / 8, 1 / 4, 1 / 2)
_NEWEST = (1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8)
_BEFORE = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
_SMALLEST = 1e-3  # of attention shares: what is less is as good as nothing


def tag(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """The type that the prompt names, one-hot; zeros if it names none."""
    known = np.zeros(prompt.num_types)
    if config.tagged:
        known[prompt.type] = 1.0
    return known


def length(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """Tokens of the prompt, as a share of the longest that there can be."""
    return np.array([len(prompt.tokens) / prompt.longest])


def budget(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """Entries that may stay, as a share of the tokens; at most 1."""
    return np.array([min(1.0, prompt.budget / len(prompt.tokens))])


def diversity(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """Share of different tokens among those of windows of some widths that end some way back: the
    type-token ratio."""
    tokens, special = prompt.numbers, prompt.is_special
    number = len(tokens)
    ratios = []
    for end in _ENDS:
        for width in _WIDTHS:
            last = number - round(end * number)
            window = slice(max(0, last - max(1, round(width * number))), last)
            seen = tokens[window][~special[window]]
            ratios.append(len(np.unique(seen)) / max(1, len(seen)))
    return np.array(ratios)


def repetition(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """Share of the newest tokens that also occur in a window just before them."""
    tokens, special = prompt.numbers, prompt.is_special
    number = len(tokens)
    shares = []
    for newest in _NEWEST:
        first = number - max(1, round(newest * number))
        new = tokens[first:][~special[first:]]
        for before in _BEFORE:
            window = tokens[max(0, first - round(before * number)) : first]
            shares.append(np.isin(new, window).mean() if len(new) else 0.0)
    return np.array(shares)


def recurrence(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """Tokens that two blocks have in common, for every pair of blocks, as a share of a block."""
    tokens, special = prompt.numbers, prompt.is_special
    _, ids = np.unique(tokens, return_inverse=True)
    counts = np.zeros((BLOCKS, ids.max() + 1))
    np.add.at(counts, (_block_of(len(tokens)), ids), ~special)
    common = np.minimum(counts[:, None], counts[None]).sum(-1)
    return np.clip(common[_PAIRS] * BLOCKS / len(tokens), 0.0, 1.0)


def attention(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """To which block the newest block attends, and to which all do: logarithms of the shares."""
    sums = _by_block(read).numpy()
    keys = np.zeros((BLOCKS, BLOCKS))
    np.add.at(keys.T, _block_of(sums.shape[1]), sums.T)
    newest = keys[_block_of(sums.shape[1])[-1]]  # a very short prompt has empty blocks
    shares = np.stack([newest, keys.sum(0)])
    shares = shares / shares.sum(1, keepdims=True)
    return (np.log(np.maximum(shares, _SMALLEST)) / -np.log(_SMALLEST)).ravel()


def block_attention(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """Cosine between what two blocks of queries attend to, for every pair of blocks."""
    sums = _by_block(read)
    sums = sums / sums.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (sums @ sums.T).numpy()[_PAIRS].clip(0.0, 1.0)


def hidden(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """Mean of the model's last hidden states over the prompt and over its last eighth, each of
    norm 1."""
    states = read.hidden.double().cpu()
    last = states[-max(1, len(states) // 8) :]
    means = torch.stack([states.mean(0), last.mean(0)])
    return (means / means.norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy().ravel()


def text(prompt: Prompt, read: Prefill, config: Any) -> np.ndarray:
    """The embedding of the prompt's text by `config.text_encoder`, of norm 1."""
    return text_encoder(config).encode([prompt.text])[0]


GROUPS: dict[str, Callable[[Prompt, Prefill, Any], np.ndarray]] = {
    "tag": tag,
    "length": length,
    "budget": budget,
    "diversity": diversity,
    "repetition": repetition,
    "recurrence": recurrence,
    "attention": attention,
    "block_attention": block_attention,
    "hidden": hidden,
    "text": text,
}


def text_encoder(config: Any) -> TextEncoder:
    """That of a problem; asked for again, it is the same object."""
    return _loaded(config.text_encoder, config.device, config.trust_remote_code)


_loaded = lru_cache(maxsize=1)(TextEncoder)


def query_weights(num_tokens: int) -> Tensor:
    """The sums of attention that features need: one row per block of queries, [BLOCKS, n]."""
    block = torch.from_numpy(_block_of(num_tokens))
    return (block == torch.arange(BLOCKS)[:, None]).float()


def _by_block(read: Prefill) -> Tensor:
    """Attention of every block of queries to every key, over all layers and heads, [BLOCKS, n]."""
    return read.scores[:, -BLOCKS:].double().mean((0, 2)).cpu()


def _block_of(num_tokens: int) -> np.ndarray:
    """Which block each token is in, [n]."""
    return np.arange(num_tokens) * BLOCKS // num_tokens


_PAIRS = np.triu_indices(BLOCKS, 1)
