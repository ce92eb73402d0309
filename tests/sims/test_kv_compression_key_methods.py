"""Methods that look at keys, and budgets that are shared out unequally."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from language_models import MODELS, heads, model, random_tokens
from torch import Tensor

from marlserve.envs.sims.kv_compression import methods
from marlserve.envs.sims.kv_compression.compression import compressed, kept, prefill
from marlserve.envs.sims.kv_compression.method import Seen
from marlserve.envs.sims.kv_compression.methods import Ada, PyramidKV, SnapKV
from marlserve.envs.sims.kv_compression.queries import HORIZON, SINKS

KEYS = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.1], [0.0, 0.5]])[None, None]


def seen(scores: Tensor, keys: Tensor = KEYS) -> Seen:
    return Seen(scores, keys, keys)


def order(name: str) -> list[int]:
    """Entries of KEYS, the first to keep first."""
    return methods.parse(name).ranks(seen(torch.zeros(1, 1, 4)))[0, 0].argsort().flip(0).tolist()


def test_short_keys_stay():
    assert order("knorm") == [3, 0, 1, 2]


def test_keys_unlike_the_others_stay():
    """Of length 1: (1, 0) twice, nearly so, and (0, 1): the third is nearest to the mean."""
    assert order("keydiff")[0] == 3
    assert order("keydiff")[-1] == 2


def test_expected_attention_of_queries_that_are_known():
    """For queries that are all the same the covariance is 0: what is expected is their attention,
    at the mean of the turns to come."""
    of = model("llama")
    tokens = random_tokens(of, 30)
    read = prefill(of, tokens, torch.zeros(1, 30), with_queries=True)
    assert read.queries is not None
    layers, kv_heads = heads(of)
    one = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))  # [heads, head_dim]
    mean = one.expand(layers, -1, -1)
    told = Seen(read.scores[:, 0], read.keys, read.values, (mean, torch.zeros(layers, 8, 8, 8)))
    found = methods.parse("expected").ranks(told)
    assert found[..., :SINKS].isinf().all()
    for layer in range(layers):
        keys, values = read.keys[layer, :, SINKS:], read.values[layer, :, SINKS:]
        grouped = one.unflatten(0, (kv_heads, -1))
        attended = (grouped @ keys.transpose(1, 2) / math.sqrt(8)).softmax(-1).mean(1)
        expected = attended * values.norm(dim=-1)
        torch.testing.assert_close(found[layer, :, SINKS:], expected)


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_queries_to_come_are_those_of_the_prompt_turned_on(name):
    """By the model's own queries at the positions to come: the mean of their logits and half the
    variance, at keys of the prompt."""
    of, number = model(name), 60
    tokens = random_tokens(of, number)
    read = prefill(of, tokens, torch.zeros(1, number), with_queries=True)
    assert read.queries is not None
    means, covariances = read.queries
    projected = []
    modules = [x for x in of.base_model.modules() if hasattr(x, "layer_idx")]
    hooks = [x.q_proj.register_forward_hook(lambda *y: projected.append(y[2][0])) for x in modules]
    of(tokens[None])
    for hook in hooks:
        hook.remove()
    for layer, flat in enumerate(projected):
        queries = flat.unflatten(-1, (-1, modules[0].head_dim)).transpose(0, 1)[:, SINKS:]
        turned = queries.mean(1), queries.transpose(1, 2)
        mean, covariance = turned[0], torch.stack([torch.cov(x, correction=0) for x in turned[1]])
        if hasattr(of.base_model, "rotary_emb"):
            at = torch.arange(number, number + HORIZON)[None]
            cosine, sine = (x[0].mean(0) for x in of.base_model.rotary_emb(queries, at))
            width = len(cosine)
            turn = torch.stack([_rotated(x, cosine, sine) for x in torch.eye(width)], 1)
            mean, covariance = mean @ turn.T, turn @ covariance @ turn.T
        torch.testing.assert_close(means[layer], mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(covariances[layer], covariance, atol=1e-4, rtol=1e-4)


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """As models do it: pairs are half a width apart."""
    half = len(x) // 2
    return x * cosine + torch.cat([-x[half:], x[:half]]) * sine


def test_expected_attention_must_be_asked_for():
    of = model("llama")
    read = prefill(of, random_tokens(of, 30), torch.zeros(1, 30))
    with pytest.raises(ValueError, match="asks for the queries; prefill was not told so"):
        compressed(read, [methods.parse("expected")], [0], 8, 2)


# Unequal budgets ----------------------------------------------------------------------------------


def ranks(layers: int, kv_heads: int, number: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(layers, kv_heads, number, generator=generator)


def test_the_pyramid_by_hand():
    """The mean is 20 beside the newest; the last layer has 20 / 10, the first as much above 20."""
    counts = PyramidKV(beta=10.0).counts(ranks(3, 2, 100), budget=24, recent=4)
    assert counts.tolist() == [[38, 38], [20, 20], [2, 2]]
    assert PyramidKV(beta=10.0).counts(ranks(3, 1, 30), 24, 4).ravel().tolist() == [30, 20, 10]


@settings(max_examples=50)
@given(layers=st.integers(1, 8), budget=st.integers(5, 60), beta=st.floats(1, 40), of=st.booleans())
def test_what_is_shared_out_is_the_budget(layers, budget, beta, of):
    method = PyramidKV(beta=beta) if of else Ada(SnapKV())
    counts = method.counts(ranks(layers, 3, 64), budget, recent=4)
    assert counts.shape == (layers, 3)
    assert ((counts >= 0) & (counts <= 64)).all()
    total = counts.sum() if of else counts.sum(1)
    assert (total == (budget - 4) * 3 * (layers if of else 1)).all()


def test_heads_share_by_their_ranks_and_a_fifth_is_safe():
    """The second head has nothing that ranks among the best, and keeps a fifth of 10 in all."""
    high, low = torch.arange(20.0) + 100, torch.arange(20.0)
    both = torch.stack([high, low])[None]
    assert Ada().counts(both, budget=10, recent=0).tolist() == [[18, 2]]
    assert Ada().counts(both, budget=10, recent=1).tolist() == [[17, 1]]
    assert Ada().counts(both, budget=10, recent=5).tolist() == [[10, 0]]


def test_heads_keep_the_highest_ranks():
    of = model("llama")
    read = prefill(of, random_tokens(of, 40), SnapKV(8, 1).query_weights(40)[None])
    left = kept(methods.parse("ada_snapkv_8_1"), read, 0, budget=10, recent=2)
    assert left.min() == -1
    for layer, scores in zip(left, read.scores[:, 0], strict=True):
        own = {(h, x) for h, row in enumerate(layer.tolist()) for x in row if 0 <= x < 38}
        best = scores[:, :38].flatten().topk(16).indices.tolist()
        assert len(own) == 16
        assert len(own & {divmod(x, 38) for x in best}) >= 14  # but for what is safe
    names = ["ada_snapkv_8_1", "pyramidkv", "snapkv_8_1", "h2o"]
    cache = compressed(read, [methods.parse(x) for x in names], [0] * 4, [10, 12, 16, 40], 2)
    assert {layer.keys.shape[:3] for layer in cache.layers} == {(4, 2, 40)}
