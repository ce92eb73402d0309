"""What a policy sees of a prompt, from what is measured as the prompt is read.

    observe(measured, config)  # [F] float32 in [-1, 1]

`Measured` holds plain numbers of one prompt, which any engine that reads it has: nothing here knows
the model or the cache. The features come in groups, `GROUPS`, which a Config may choose from.
Blocks and windows are shares of the prompt, so that prompts of any length have equally many
features. Special tokens do not count.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from marlserve.envs.sims.text_encoder import TextEncoder

BLOCKS = 16
# Shares of the prompt.
_ENDS, _WIDTHS = (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4), (1 / 16, 1 / 8, 1 / 4, 1 / 2)
_NEWEST = (1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8)
_BEFORE = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
_SMALLEST = 1e-3  # of attention shares: what is less is as good as nothing


class Measured(NamedTuple):
    """Of one prompt of n tokens, before its cache is compressed."""

    tokens: np.ndarray  # their numbers, [n] int
    is_special: np.ndarray  # which of them mean nothing by themselves, [n] bool
    longest_tokens: int  # of the longest prompt that there can be
    budget_entries: int  # that may stay, in each layer and KV head
    named_type: int  # the type that the prompt names; -1 if it names none
    num_types: int
    attention: np.ndarray  # of each block of queries to each key, layers and heads, [BLOCKS, n]
    hidden_mean: np.ndarray  # of the model's last hidden states over the prompt, [H]
    hidden_last_mean: np.ndarray  # over its last eighth, [H]
    text: str  # "" where there is none


def observe(measured: Measured, config: Any) -> np.ndarray:
    """The groups of `config.context` one after the other, [F] float32."""
    return np.concatenate([group(measured, name, config) for name in config.context])


def group(measured: Measured, name: str, config: Any) -> np.ndarray:
    """One of `GROUPS`, float32."""
    return GROUPS[name](measured, config).astype(np.float32)


def tag(measured: Measured, config: Any) -> np.ndarray:
    """The type that the prompt names, one-hot; zeros if it names none."""
    known = np.zeros(measured.num_types)
    if measured.named_type >= 0:
        known[measured.named_type] = 1.0
    return known


def length(measured: Measured, config: Any) -> np.ndarray:
    """Tokens of the prompt, as a share of the longest that there can be."""
    return np.array([len(measured.tokens) / measured.longest_tokens])


def budget(measured: Measured, config: Any) -> np.ndarray:
    """Entries that may stay, as a share of the tokens; at most 1."""
    return np.array([min(1.0, measured.budget_entries / len(measured.tokens))])


def diversity(measured: Measured, config: Any) -> np.ndarray:
    """Share of different tokens among those of windows of some widths that end some way back: the
    type-token ratio."""
    tokens, special = _tokens(measured)
    number = len(tokens)
    ratios = []
    for end in _ENDS:
        for width in _WIDTHS:
            last = number - round(end * number)
            window = slice(max(0, last - max(1, round(width * number))), last)
            seen = tokens[window][~special[window]]
            ratios.append(len(np.unique(seen)) / max(1, len(seen)))
    return np.array(ratios)


def repetition(measured: Measured, config: Any) -> np.ndarray:
    """Share of the newest tokens that also occur in a window just before them."""
    tokens, special = _tokens(measured)
    number = len(tokens)
    shares = []
    for newest in _NEWEST:
        first = number - max(1, round(newest * number))
        new = tokens[first:][~special[first:]]
        for before in _BEFORE:
            window = tokens[max(0, first - round(before * number)) : first]
            shares.append(np.isin(new, window).mean() if len(new) else 0.0)
    return np.array(shares)


def recurrence(measured: Measured, config: Any) -> np.ndarray:
    """Tokens that two blocks have in common, for every pair of blocks, as a share of a block."""
    tokens, special = _tokens(measured)
    _, ids = np.unique(tokens, return_inverse=True)
    counts = np.zeros((BLOCKS, ids.max() + 1))
    np.add.at(counts, (block_of(len(tokens)), ids), ~special)
    common = np.minimum(counts[:, None], counts[None]).sum(-1)
    return np.clip(common[_PAIRS] * BLOCKS / len(tokens), 0.0, 1.0)


def attention(measured: Measured, config: Any) -> np.ndarray:
    """To which block the newest block attends, and to which all do: logarithms of the shares."""
    sums = np.asarray(measured.attention, float)
    keys = np.zeros((BLOCKS, BLOCKS))
    np.add.at(keys.T, block_of(sums.shape[1]), sums.T)
    newest = keys[block_of(sums.shape[1])[-1]]  # a very short prompt has empty blocks
    shares = np.stack([newest, keys.sum(0)])
    shares = shares / shares.sum(1, keepdims=True)
    return (np.log(np.maximum(shares, _SMALLEST)) / -np.log(_SMALLEST)).ravel()


def block_attention(measured: Measured, config: Any) -> np.ndarray:
    """Cosine between what two blocks of queries attend to, for every pair of blocks."""
    sums = _of_norm_1(measured.attention)
    return (sums @ sums.T)[_PAIRS].clip(0.0, 1.0)


def hidden(measured: Measured, config: Any) -> np.ndarray:
    """Mean of the model's last hidden states over the prompt and over its last eighth, each of
    norm 1."""
    return _of_norm_1([measured.hidden_mean, measured.hidden_last_mean]).ravel()


def text(measured: Measured, config: Any) -> np.ndarray:
    """The embedding of the prompt's text by `config.text_encoder`, of norm 1."""
    return text_encoder(config).encode([measured.text])[0]


GROUPS: dict[str, Callable[[Measured, Any], np.ndarray]] = {
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


def block_of(num_tokens: int) -> np.ndarray:
    """Which of the BLOCKS each token is in, [n]."""
    return np.arange(num_tokens) * BLOCKS // num_tokens


def _tokens(measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Their numbers, and which are special, [n] each."""
    return np.asarray(measured.tokens), np.asarray(measured.is_special, bool)


def _of_norm_1(rows: Any) -> np.ndarray:
    """Rows [R, n], each over its length."""
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


_PAIRS = np.triu_indices(BLOCKS, 1)
