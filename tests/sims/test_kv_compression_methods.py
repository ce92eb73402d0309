"""Every method keeps what its formula says, on attention that a test makes up."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marlserve.envs.sims.kv_compression import methods
from marlserve.envs.sims.kv_compression.cache import EvictingCache
from marlserve.envs.sims.kv_compression.compression import Prefill, compressed
from marlserve.envs.sims.kv_compression.method import Method, Seen
from marlserve.envs.sims.kv_compression.methods import (
    A2SF,
    H2O,
    KINDS,
    TOVA,
    Full,
    Sigmoid,
    SnapKV,
    Window,
    parse,
)

# What 8 queries of one head attend to; the rows need not add up to 1.
HEAD = torch.tensor(
    [
        [9, 0, 0, 0, 0, 0, 0, 0],
        [7, 2, 0, 0, 0, 0, 0, 0],
        [6, 0, 3, 0, 0, 0, 0, 0],
        [1, 0, 4, 4, 0, 0, 0, 0],
        [0, 0, 4, 4, 1, 0, 0, 0],
        [0, 0, 0, 0, 8, 1, 0, 0],
        [0, 5, 0, 0, 3, 0, 1, 0],
        [0, 6, 0, 1, 0, 0, 1, 1],
    ],
    dtype=torch.float32,
)
NONE = torch.empty(0)
# That ask for nothing else than attention and keys, and keep equally many in each head.
EVICTING = sorted(KINDS.keys() - {"full", "expected", "ada"})


def attention(seed: int, heads: int, number: int) -> Tensor:
    """Causal, [heads, n, n]."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(heads, number, number, generator=generator)
    future = torch.ones(number, number, dtype=torch.bool).triu(1)
    return logits.masked_fill(future, -torch.inf).softmax(-1)


def scores(method: Method, probability: Tensor) -> Tensor:
    return torch.einsum("q,hqk->hk", method.query_weights(probability.shape[1]), probability)


def kept(method: Method, probability: Tensor, budget: int, recent: int) -> list[list[int]]:
    """Positions that stay, for each of the heads in `probability` [heads, n, n]."""
    heads, number, _ = probability.shape
    position = torch.arange(number, dtype=torch.float32)[:, None].expand(1, heads, -1, 1)
    cache = EvictingCache(1)
    cache.layers[0].update(position, position)
    read = Prefill(cache, scores(method, probability)[None, None], torch.empty(0))
    left = compressed(read, [method], [0], budget, recent).layers[0].keys
    return left[0, ..., 0].int().tolist()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (H2O(), [0, 1, 4, 7]),  # 23, 13, 11, 9, 12, 1, 2: the sums of the columns
        (Sigmoid(0.0, 3.0), [0, 1, 4, 7]),
        (Window(2), [0, 1, 6, 7]),
        (Window(0), [4, 5, 6, 7]),
        (SnapKV(window=3, kernel=1), [1, 4, 6, 7]),  # 0, 11, 0, 1, 11, 1, 2
        (TOVA(), [1, 3, 6, 7]),  # 0, 6, 0, 1, 0, 0, 1
        (A2SF(0.5), [1, 3, 4, 7]),  # 0.4, 8.5, 0.8, 1.8, 3.6, 0.3, 1.5
    ],
)
def test_by_hand(method, expected):
    assert kept(method, HEAD[None], budget=4, recent=1) == [expected]


def test_a_window_votes_and_neighbours_share_the_highest_score():
    """Of the last two queries key 1 has 11, 4 has 3, 6 has 2, 3 and 7 have 1."""
    wide = SnapKV(window=2, kernel=3)
    seen = Seen(scores(wide, HEAD[None])[None], NONE, NONE)
    assert wide.ranks(seen).tolist() == [[[11, 11, 11, 3, 3, 3, 2, 2]]]
    assert kept(wide, HEAD[None], budget=4, recent=1) == [[0, 1, 2, 7]]


def test_all_heads_of_tova_keep_the_same():
    probability = attention(0, heads=3, number=30)
    last = probability[:, -1].mean(0)[:-2]
    for method, same in ((TOVA(), True), (H2O(), False)):
        left = kept(method, probability, budget=8, recent=2)
        assert (left[0] == left[1] == left[2]) is same
    expected = sorted(last.topk(6).indices.tolist())
    assert kept(TOVA(), probability, budget=8, recent=2)[0] == [*expected, 28, 29]


@settings(max_examples=25)
@given(seed=st.integers(0, 99), alpha=st.floats(0.05, 1.0))
def test_attention_is_forgotten_query_by_query(seed, alpha):
    """A(n) = alpha * A(n - 1) + S(n)."""
    probability = attention(seed, heads=2, number=20)
    accumulated = torch.zeros(2, 20)
    for query in range(20):
        accumulated = alpha * accumulated + probability[:, query]
    torch.testing.assert_close(scores(A2SF(alpha), probability), accumulated, atol=1e-5, rtol=1e-4)


@settings(max_examples=50)
@given(n=st.integers(1, 60), a=st.floats(0.0, 50.0), b=st.floats(1.0, 200.0))
def test_the_weight_of_a_query_is_a_sigmoid(n, a, b):
    query = np.arange(n)
    expected = 1.0 / (1.0 + np.exp(-np.clip(a * (query - (n - b - 0.5)), -700, 700)))
    np.testing.assert_allclose(Sigmoid(a, b).query_weights(n), expected, rtol=1e-5, atol=1e-30)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), window=st.integers(1, 40))
def test_limits_of_the_sigmoid(seed, window):
    probability = attention(seed, heads=2, number=30)

    def left(method):
        return kept(method, probability, budget=9, recent=3)

    assert left(Sigmoid(0.0, window)) == left(H2O()) == left(A2SF(1.0))
    assert left(Sigmoid(1e4, window)) == left(SnapKV(window, kernel=1))
    assert left(Sigmoid(0.1, 1e6)) == left(H2O())
    assert left(A2SF(1e-30)) == left(Sigmoid(1e4, 1))


@pytest.mark.parametrize(("a", "b"), [(1e300, 1e300), (1e300, 1.0), (1e-300, 1e300), (1e4, 4096.0)])
def test_no_weight_overflows(a, b):
    weights = Sigmoid(a, b).query_weights(10)
    assert weights.isfinite().all()
    assert weights[-1] >= 0.5


@settings(max_examples=60)
@given(seed=st.integers(0, 99), data=st.data())
def test_budget_and_the_newest(seed, data):
    """Exactly the budget stays, in order, the newest among it; nothing goes if all fits in."""
    method = parse(data.draw(st.sampled_from(EVICTING)))
    number, budget = data.draw(st.integers(1, 25)), data.draw(st.integers(1, 30))
    recent = data.draw(st.integers(0, budget))
    for left in kept(method, attention(seed, 2, number), budget, recent):
        assert left == sorted(set(left))
        assert len(left) == min(budget, number)
        assert set(range(number - min(recent, number), number)) <= set(left)


def test_a_window_with_more_sinks_than_room_keeps_the_first():
    assert kept(Window(6), HEAD[None], budget=5, recent=2) == [[0, 1, 2, 6, 7]]
    assert kept(Window(100), HEAD[None], budget=5, recent=0) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_default_has_a_name(kind):
    assert parse(KINDS[kind]().name) == parse(kind) == KINDS[kind]()


@given(
    st.one_of(
        st.builds(Sigmoid, st.floats(0, 1e300), st.floats(1, 1e300)),
        st.builds(A2SF, st.floats(0, 1, exclude_min=True)),
        st.builds(SnapKV, st.integers(1, 10**9), st.integers(0, 10**9).map(lambda k: 2 * k + 1)),
        st.builds(Window, st.integers(0, 10**9)),
    )
)
def test_a_name_says_everything(method):
    assert parse(method.name) == method


def test_names_are_short():
    assert [parse(x).name for x in ("sigmoid_0.10_16.0", "a2sf_1.0", "snapkv_64", "tova")] == [
        "sigmoid_0.1_16",
        "a2sf_1",
        "snapkv_64_7",
        "tova",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "h3o",
            "'h3o' is no compression method; there are ['a2sf', 'ada', 'expected', 'full', 'h2o',",
        ),
        ("", "'' is no compression method"),
        ("h2o_1", "'h2o_1' is no compression method"),
        ("sigmoid_1_2_3", "'sigmoid_1_2_3' is no compression method"),
        ("sigmoid_x", "'sigmoid_x' is no compression method: could not convert"),
        ("sigmoid_-1_16", "a is -1; allowed is 0 or more"),
        ("sigmoid_nan_16", "a is nan; allowed is 0 or more"),
        ("sigmoid_inf_16", "a is inf; allowed is 0 or more"),
        ("sigmoid_0.1_0", "b is 0; allowed is 1 or more"),
        ("a2sf_0", "alpha is 0; allowed is above 0, at most 1"),
        ("a2sf_1.01", "alpha is 1.01; allowed is above 0, at most 1"),
        ("snapkv_0", "window is 0; allowed is 1, 2, ..."),
        ("snapkv_1.5", "window is 1.5; allowed is 1, 2, ..."),
        ("snapkv_16_4", "kernel is 4; allowed is an odd number"),
        ("window_-1", "sinks is -1; allowed is 0, 1, 2, ..."),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(name)


def test_a_grid_names_no_method_twice():
    assert methods.grid((0.0, 0.1, 10), (4, 16)) == (
        "h2o",
        "sigmoid_0.1_4",
        "sigmoid_0.1_16",
        "sigmoid_10_4",
        "sigmoid_10_16",
    )
    assert methods.grid((0.1, 0, 0.1), (4, 4.0)) == ("sigmoid_0.1_4", "h2o")
    assert len(methods.grid((0, 0.01, 0.03, 0.1, 10), (4, 16, 48, 96, 160))) == 21
    with pytest.raises(ValueError, match="b is 0"):
        methods.grid((0.0,), (0,))


def test_methods_that_do_the_same_are_one():
    for same in (Sigmoid(0.0, 4), Sigmoid(0, 160), A2SF(1), H2O()):
        assert methods.canonical(same) == H2O()
    for other in (Sigmoid(0.1, 4), A2SF(0.9), SnapKV(), TOVA(), Window(), Full()):
        assert methods.canonical(other) is other
