"""An evicted entry is as if it had been masked; everything else goes on as it was."""

import pytest
import torch
from language_models import (
    MODELS,
    heads,
    masked_logits,
    model,
    random_kept,
    random_tokens,
    read,
)
from transformers import DynamicCache

from marlserve.envs.sims.kv_compression.cache import EvictingCache, EvictingLayer
from marlserve.envs.sims.kv_compression.compression import answer

CHUNKS = (5, 1, 1, 3)  # tokens that are fed after the eviction, at a time
PROMPT, FED = 40, sum(CHUNKS)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def entries(cache) -> set[int]:
    return {layer.keys.shape[2] for layer in cache.layers}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("number", [0, 1, 12])
def test_evicted_is_masked(name, number):
    """Each row, layer and KV head keeps other entries; chunks of tokens and single ones follow."""
    of = model(name)
    prompt, then = random_tokens(of, 1, PROMPT), random_tokens(of, 2, FED, seed=1)
    kept = random_kept(of, 2, PROMPT, number)
    cache = read(of, prompt).evicted(kept)
    logits = [of(chunk, past_key_values=cache).logits for chunk in then.split(CHUNKS, dim=1)]
    assert entries(cache) == {number + FED}
    assert cache.get_seq_length() == PROMPT + FED
    for row in range(2):
        sequence, of_row = torch.cat([prompt, then[[row]]], 1), [layer[row] for layer in kept]
        expected = masked_logits(of, sequence, of_row, PROMPT)[0, PROMPT:]
        torch.testing.assert_close(torch.cat(logits, 1)[row], expected, atol=1e-4, rtol=0)
        unmasked = of(sequence).logits[0, PROMPT:]
        assert (unmasked - expected).abs().max() > 0.1, "the keys would not have mattered"


@pytest.mark.parametrize("name", MODELS)
def test_what_fills_up_is_not_attended_to(name):
    """Each row, layer and head keeps another number of entries, some of them none."""
    of = model(name)
    prompt, then = random_tokens(of, 1, PROMPT), random_tokens(of, 2, FED, seed=1)
    kept = unequal(random_kept(of, 2, PROMPT, 12))
    assert len({int(number) for layer in kept for number in (layer >= 0).sum(-1).ravel()}) > 5
    cache = read(of, prompt).evicted(kept)
    logits = [of(chunk, past_key_values=cache).logits for chunk in then.split(CHUNKS, dim=1)]
    assert (entries(cache), cache.get_seq_length()) == ({12 + FED}, PROMPT + FED)
    for row in range(2):
        sequence, of_row = torch.cat([prompt, then[[row]]], 1), [layer[row] for layer in kept]
        expected = masked_logits(of, sequence, of_row, PROMPT)[0, PROMPT:]
        torch.testing.assert_close(torch.cat(logits, 1)[row], expected, atol=1e-4, rtol=0)


def test_a_cache_that_is_filled_up_is_a_cache_like_any_other():
    """It may be copied, cropped, evicted from again, and generated with."""
    of = model("llama")
    prompt, question = random_tokens(of, 1, PROMPT), random_tokens(of, 1, 3, seed=1)
    kept = unequal(random_kept(of, 1, PROMPT, 12))
    cache = read(of, prompt).evicted(kept)
    expected = answer(of, cache.copy(), [(question[0], 6)])
    every = torch.arange(12).expand(1, heads(of)[1], -1)
    again = read(of, prompt[:, :2], cache.evicted([every] * heads(of)[0]))
    again.crop(-2)
    for used in (cache, again):
        said = of.generate(
            torch.cat([prompt, question], 1),
            past_key_values=used,
            max_new_tokens=6,
            do_sample=False,
        )
        assert said[:, PROMPT + 3 :].equal(expected)


def unequal(kept: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same with -1 in place of some, other numbers of them in each row, layer and head."""
    cut = []
    for number, layer in enumerate(kept):
        rows, heads_, most = layer.shape
        left = 3 * torch.arange(rows)[:, None] + 5 * (torch.arange(heads_) % 3) + number
        cut.append(layer.masked_fill(torch.arange(most) >= left[..., None], -1))
    return cut


@pytest.mark.parametrize("name", MODELS)
def test_evicted_is_masked_by_the_mask_of_transformers(name):
    """A plain cache and a mask [1, heads, m, n]: all layers lose the same, heads do not."""
    of = model(name)
    layers, kv_heads = heads(of)
    prompt, then = random_tokens(of, 1, PROMPT), random_tokens(of, 1, FED, seed=1)
    kept = random_kept(of, 1, PROMPT, 10)[:1] * layers
    logits = of(then, past_key_values=read(of, prompt).evicted(kept)).logits
    sees = torch.zeros(1, kv_heads, PROMPT, dtype=torch.bool).scatter(2, kept[0], True)
    sees = torch.cat(
        [
            sees[:, :, None].expand(-1, -1, FED, -1),
            torch.ones(FED, FED).tril().bool().expand(1, kv_heads, -1, -1),
        ],
        3,
    )
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    mask = mask.repeat_interleave(of.config.num_attention_heads // kv_heads, 1)
    full = DynamicCache()
    of(prompt, past_key_values=full)
    at = torch.arange(PROMPT, PROMPT + FED)[None]  # which OPT would make of the mask
    expected = of(then, past_key_values=full, attention_mask=mask, position_ids=at).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_without_an_eviction_it_is_a_plain_cache(name):
    of, plain = model(name), DynamicCache()
    tokens = random_tokens(of, 2, PROMPT)
    cache = EvictingCache(heads(of)[0])
    for chunk in tokens.split((17, 1, 22), dim=1):
        expected = of(chunk, past_key_values=plain).logits
        torch.testing.assert_close(of(chunk, past_key_values=cache).logits, expected)
    copy = cache.copy()
    copy.layers[0].keys.zero_()
    for ours, theirs in zip(cache.layers, plain.layers, strict=True):
        assert ours.keys.equal(theirs.keys)
        assert ours.values.equal(theirs.values)


@pytest.mark.parametrize("name", ["small_llama", "llama"])
def test_generate_feeds_only_what_is_new(name):
    of = model(name)
    prompt, question = random_tokens(of, 1, PROMPT), random_tokens(of, 1, 3, seed=1)
    cache = read(of, prompt).evicted(random_kept(of, 1, PROMPT, 12))
    expected = answer(of, cache.copy(), [(question[0], 6)])
    sequence = torch.cat([prompt, question], 1)
    said = of.generate(sequence, past_key_values=cache, max_new_tokens=6, do_sample=False)
    assert said[:, PROMPT + 3 :].equal(expected)
    assert entries(cache) == {12 + 3 + 5}  # the last one was not fed any more
    assert cache.get_seq_length() == PROMPT + 3 + 5


def test_generate_feeds_everything_to_a_plain_cache_that_was_cut():
    """What `EvictingLayer` is for: this cache says that it has seen only what it still has."""
    of, plain = model("llama"), DynamicCache()
    prompt = random_tokens(of, 1, PROMPT)
    of(prompt, past_key_values=plain)
    for layer in plain.layers:
        layer.keys, layer.values = layer.keys[:, :, -12:], layer.values[:, :, -12:]
    sequence = torch.cat([prompt, random_tokens(of, 1, 3, seed=1)], 1)
    of.generate(sequence, past_key_values=plain, max_new_tokens=1, do_sample=False)
    assert entries(plain) == {12 + PROMPT + 3 - 12}  # the prompt from its 13th token on, again


def test_beams_share_and_reorder_the_entries():
    of = model("llama")
    prompt, question = random_tokens(of, 1, PROMPT), random_tokens(of, 1, 3, seed=1)
    sequence, said = torch.cat([prompt, question], 1), []
    for cache in (read(of, prompt), DynamicCache()):
        if isinstance(cache, EvictingCache):
            cache.batch_repeat_interleave(3)
        said.append(
            of.generate(
                sequence, past_key_values=cache, max_new_tokens=6, num_beams=3, do_sample=False
            )
        )
    assert said[0].equal(said[1])


def test_rows_are_repeated_reordered_and_selected():
    of = model("llama")
    cache = read(of, random_tokens(of, 1, PROMPT)).evicted(random_kept(of, 3, PROMPT, 7))
    keys = [layer.keys for layer in cache.layers]
    cache.reorder_cache(torch.tensor([2, 0, 0]))
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([0, 3, 5]))
    for layer, former in zip(cache.layers, keys, strict=True):
        assert layer.keys.equal(former[[2, 0, 0]])
    assert cache.get_seq_length() == PROMPT


def test_crop_forgets_the_newest_tokens():
    of = model("llama")
    prompt, then = random_tokens(of, 1, PROMPT), random_tokens(of, 1, 8, seed=1)
    cache = read(of, prompt).evicted(random_kept(of, 1, PROMPT, 12))
    expected = of(then[:, :6], past_key_values=cache.copy()).logits[:, 2:]
    of(then[:, [0, 1, 7, 7, 7]], past_key_values=cache)
    cache.crop(-3)
    assert entries(cache) == {14}
    torch.testing.assert_close(of(then[:, 2:6], past_key_values=cache).logits, expected)


def test_crop_reaches_back_to_the_last_eviction():
    """Before it, the newest entries need not be the newest tokens."""
    of = model("llama")
    cache = read(of, random_tokens(of, 1, PROMPT))
    cache = cache.evicted(random_kept(of, 1, PROMPT, 12))
    read(of, random_tokens(of, 1, 5), cache)
    for wrong in (-6, 1):
        with pytest.raises(ValueError, match=f"tokens_to_remove is {wrong}; allowed is -5 to 0"):
            cache.copy().crop(wrong)
    cache.crop(-5)
    cache.crop(0)
    assert (entries(cache), cache.get_seq_length()) == ({12}, PROMPT)


def test_reset_is_a_new_beginning():
    of = model("llama")
    tokens = random_tokens(of, 1, PROMPT)
    cache = read(of, tokens).evicted(random_kept(of, 1, PROMPT, 12))
    cache.reset()
    assert (cache.get_seq_length(), cache.layers[0].entries) == (0, 0)
    torch.testing.assert_close(of(tokens, past_key_values=cache).logits, of(tokens).logits)
    cache.crop(-PROMPT)
    assert cache.get_seq_length() == 0


def test_evicting_what_is_not_there():
    layer = EvictingLayer()
    with pytest.raises(ValueError, match="the layer is empty"):
        layer.evict(torch.zeros(1, 2, 1, dtype=torch.int64))
    layer.update(torch.zeros(1, 2, 5, 3), torch.zeros(1, 2, 5, 3))
    for kept, message in {
        ((0, 5), (0, 1)): "indices from 0 to 5; there are 5 entries",
        ((0, 1), (-2, 1)): "indices from -2 to 1; there are 5 entries",
        ((0, 1), (3, 3)): "names an entry twice",
        ((0, 1),): r"kept has shape \[1, 1, 2\]; expected \[1, 2, entries to keep\]",
    }.items():
        with pytest.raises(ValueError, match=message):
            layer.evict(torch.tensor([kept]))
    with pytest.raises(ValueError, match=r"kept has shape \[2, 1\]"):
        layer.evict(torch.tensor([[0], [1]]))
    assert layer.entries == 5


def test_layers_keep_equally_many_entries():
    of = model("llama")
    cache = read(of, random_tokens(of, 1, PROMPT))
    kept = random_kept(of, 1, PROMPT, 12)
    with pytest.raises(ValueError, match=r"layers keep \[11, 12\] entries"):
        cache.evicted([kept[0][..., 1:], *kept[1:]])
    with pytest.raises(ValueError, match="shorter"):
        cache.evicted(kept[1:])
    two = cache.evicted([layer.repeat(2, 1, 1) for layer in kept])
    with pytest.raises(ValueError, match=r"kept has shape \[3, 2, 1\]; expected \[2, 2"):
        two.evicted([layer[..., :1].repeat(3, 1, 1) for layer in kept])
