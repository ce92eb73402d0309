"""The scores are sums over the probabilities of attention, and looking changes nothing."""

import copy

import pytest
import torch
from language_models import MODELS, heads, model, random_tokens, read, save
from torch import Tensor
from transformers import BloomConfig

from marlserve.envs.sims.kv_compression import attention, language_model
from marlserve.envs.sims.kv_compression.attention import AttentionScores
from marlserve.envs.sims.kv_compression.cache import EvictingCache
from marlserve.envs.sims.kv_compression.compression import prefill


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def weights(number: int) -> Tensor:
    """Three ways to weigh queries: alike, at random, the last one only."""
    generator = torch.Generator().manual_seed(0)
    last = (torch.arange(number) == number - 1).float()
    return torch.stack([torch.ones(number), torch.rand(number, generator=generator), last])


def expected_scores(of, tokens: Tensor, query_weights: Tensor) -> Tensor:
    """From the probabilities that eager attention gives back: [layers, W, kv_heads, n]."""
    of.set_attn_implementation("eager")
    try:
        layers = of(tokens[None], output_attentions=True).attentions
    finally:
        of.set_attn_implementation(attention.NAME)
    probability = torch.stack(layers)[:, 0].double()  # [layers, heads, n, n]
    sums = torch.einsum("wq,lhqk->lwhk", query_weights.double(), probability)
    return sums.unflatten(2, (heads(of)[1], -1)).sum(3).float()


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_sums_of_attention(name):
    of = model(name)
    tokens = random_tokens(of, 50)
    scores = prefill(of, tokens, weights(50)).scores
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected_scores(of, tokens, weights(50)), atol=1e-4, rtol=0)
    queries_per_kv_head = of.config.num_attention_heads // heads(of)[1]
    sums = weights(50).sum(1)[:, None].expand(-1, heads(of)[1])  # each query hands out 1
    torch.testing.assert_close(
        scores.sum(-1), queries_per_kv_head * sums.expand(len(scores), -1, -1)
    )


@pytest.mark.parametrize(("number", "block"), [(600, 512), (50, 1), (50, 16), (48, 16), (1, 512)])
def test_long_prompts_are_looked_at_in_blocks(number, block, monkeypatch):
    of = model("llama")
    if block != attention._QUERIES_PER_BLOCK:
        monkeypatch.setattr(attention, "_QUERIES_PER_BLOCK", block)
    tokens = random_tokens(of, number)
    scores = prefill(of, tokens, weights(number)).scores
    expected = expected_scores(of, tokens, weights(number))
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-4)


def test_a_prompt_may_be_read_piece_by_piece():
    of = model("llama")
    tokens, cache = random_tokens(of, 50), EvictingCache(heads(of)[0])
    scores = AttentionScores(weights(50))
    for piece in tokens[None].split((20, 1, 29), dim=1):
        of(piece, past_key_values=cache, scores=scores)
    expected = prefill(of, tokens, weights(50)).scores
    found = torch.stack([scores.layers[layer] for layer in range(heads(of)[0])])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_looking_changes_nothing(name):
    of = model(name)
    tokens = random_tokens(of, 50)
    seen = prefill(of, tokens, weights(50))
    assert seen.hidden.equal(of.base_model(tokens[None], use_cache=False).last_hidden_state[0])
    for ours, theirs in zip(seen.cache.layers, read(of, tokens[None]).layers, strict=True):
        assert ours.keys.equal(theirs.keys)
        assert ours.values.equal(theirs.values)


def test_scores_of_half_precision_are_sums_in_single_precision():
    """Sums of bfloat16 would stop to grow at 256: the next number after it is 258."""
    of = copy.deepcopy(model("llama")).bfloat16()
    seen = prefill(of, random_tokens(of, 600), torch.ones(1, 600))
    assert {x.dtype for x in (seen.scores, seen.hidden)} == {torch.float32}
    total = torch.full((3, 1, 2), 4 * 600.0)  # 4 query heads for a KV head
    torch.testing.assert_close(seen.scores.sum(-1), total, atol=0.01, rtol=0)


def test_what_cannot_be_read():
    of = model("llama")
    with pytest.raises(ValueError, match="the prompt is empty"):
        prefill(of, torch.empty(0, dtype=torch.int64), torch.ones(1, 0))
    for wrong in (torch.ones(1, 9), torch.ones(1, 11), torch.ones(10)):
        with pytest.raises(ValueError, match=r"query_weights has shape .* expected \[W, 10\]"):
            prefill(of, random_tokens(of, 10), wrong)
    with pytest.raises(ValueError, match="2 prompts are read at once; allowed is 1"):
        of(random_tokens(of, 2, 10), scores=AttentionScores(torch.ones(1, 10)))


def test_a_model_that_does_not_tell_its_attention(tmp_path):
    config = BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=4)
    of = language_model.load(save(config, str(tmp_path))).model
    with pytest.raises(
        ValueError, match="BloomForCausalLM tells the attention of 0 of its 2 layers"
    ):
        prefill(of, torch.arange(1, 9), torch.ones(1, 8))
