"""The answers of many compressed caches: each row for itself, and nothing in them for free."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from language_models import model, random_tokens, read

from marlserve.envs.sims.kv_compression import methods
from marlserve.envs.sims.kv_compression.compression import (
    answer,
    check_budget,
    compressed,
    prefill,
)
from marlserve.envs.sims.kv_compression.tasks import TYPES, Family

ARMS = [
    methods.parse(name)
    for name in (
        *methods.grid((0.0, 0.01, 0.1, 10.0), (4, 16, 48)),
        *("window_4", "snapkv_16", "tova", "a2sf_0.9"),
    )
]
FAMILY = Family(length=128, num_facts=12)


def asked(prompt) -> tuple[torch.Tensor, list[tuple[torch.Tensor, int]]]:
    """A prompt's tokens and turns, as the functions take them."""
    turns = [(torch.from_numpy(turn.tokens), len(turn.answer)) for turn in prompt.turns]
    return torch.from_numpy(prompt.tokens), turns


def read_for(of, tokens, arms):
    return prefill(of, tokens, torch.stack([arm.query_weights(len(tokens)) for arm in arms]))


@settings(max_examples=10)
@given(
    index=st.integers(0, 999),
    arms=st.lists(st.sampled_from(ARMS), min_size=2, max_size=6),
    budget=st.integers(1, 140),
    data=st.data(),
)
def test_a_batch_of_arms_is_each_arm_alone(index, arms, budget, data):
    """Every row has the queries' weights of its own arm, and its own answer."""
    of, recent = model("small_llama"), data.draw(st.integers(0, min(budget, 8)))
    tokens, turns = asked(FAMILY.prompt(0, "test", index))
    seen = read_for(of, tokens, arms)
    together = compressed(seen, arms, range(len(arms)), budget, recent)
    alone = [compressed(read_for(of, tokens, [arm]), [arm], [0], budget, recent) for arm in arms]
    for row, single in enumerate(alone):
        for ours, theirs in zip(together.layers, single.layers, strict=True):
            torch.testing.assert_close(ours.keys[[row]], theirs.keys, atol=1e-5, rtol=0)
            torch.testing.assert_close(ours.values[[row]], theirs.values, atol=1e-5, rtol=0)
    replies = answer(of, together, turns)
    assert replies.equal(torch.cat([answer(of, single, turns) for single in alone]))


def test_arms_of_a_batch_differ():
    of = model("small_llama")
    tokens, _ = asked(FAMILY.draw(np.random.default_rng(0), TYPES.index("shift_long")))
    names = (
        "h2o",
        "sigmoid_10_4",
        "sigmoid_10_16",
        "sigmoid_10_48",
        "window_4",
        "snapkv_16",
        "tova",
    )
    arms = [methods.parse(name) for name in names]
    keys = compressed(read_for(of, tokens, arms), arms, range(len(arms)), 16, 4).layers[0].keys
    assert len({row.numpy().tobytes() for row in keys}) == len(arms)


def test_a_short_prompt_stays_whole():
    of = model("small_llama")
    tokens, turns = asked(FAMILY.prompt(0, "test", 0))
    seen = read_for(of, tokens, ARMS)
    cache = compressed(seen, ARMS, range(len(ARMS)), FAMILY.length, 4)
    for layer, whole in zip(cache.layers, seen.cache.layers, strict=True):
        assert layer.keys.equal(whole.keys.expand_as(layer.keys))
    replies = answer(of, cache, turns)
    assert replies.equal(answer(of, seen.cache.copy(), turns).expand_as(replies))
    assert seen.cache.layers[0].entries == FAMILY.length, "the prompt can be compressed again"


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_no_token_of_an_answer_is_free(kind):
    """With the first entry only, each is as the full cache's by chance at most."""
    of, generator, same = model("small_llama"), np.random.default_rng(0), []
    for _ in range(12):
        tokens, turns = asked(FAMILY.draw(generator, TYPES.index(kind)))
        seen = read_for(of, tokens, [methods.Window(1)])
        blind = compressed(seen, [methods.Window(1)], [0], budget=1, recent=0)
        same.append(answer(of, blind, turns)[0] == answer(of, seen.cache, turns)[0])
    per_token = torch.stack(same).float().mean(0)
    assert per_token.max() <= 0.35
    assert per_token.mean() <= 0.15


def greedily(of, prompt, turns, end_token):
    """Reading everything anew for each token, without a cache."""
    said, replies = prompt[None], []
    for tokens, number in turns:
        said, ended = torch.cat([said, tokens[None]], 1), False
        for _ in range(number):
            token = end_token if ended else int(of(said).logits[0, -1].argmax())
            ended = token == end_token
            said = torch.cat([said, torch.tensor([[token]])], 1)
            replies.append(token)
    return replies


TURNS = ((3, 4), (1, 1), (2, 6))  # tokens to feed, and to reply


def test_answers_are_greedy():
    of = model("llama")
    prompt = random_tokens(of, 20)
    turns = [(random_tokens(of, m, seed=m), number) for m, number in TURNS]
    replies = answer(of, read(of, prompt[None]), turns)
    assert replies.tolist() == [greedily(of, prompt, turns, None)]


@pytest.mark.slow
def test_a_row_that_ends_says_nothing_else_in_its_turn():
    """Whatever token ends a turn, in whichever place: other rows do not matter."""
    of = model("llama")
    prompts = random_tokens(of, 3, 20)
    turns = [(random_tokens(of, m, seed=m), number) for m, number in TURNS]
    plain = answer(of, read(of, prompts), turns)
    assert not plain[0].equal(plain[1])
    for end_token in plain[:, [0, 1, 4, 5, 8]].unique().tolist():
        expected = [greedily(of, prompt, turns, end_token) for prompt in prompts]
        assert answer(of, read(of, prompts), turns, end_token).tolist() == expected
        for prompt, reply in zip(prompts, expected, strict=True):
            alone = answer(of, read(of, prompt[None]), turns, end_token)
            assert alone.tolist() == [reply]


def test_the_last_turn_stops_when_all_rows_have_ended():
    of = model("llama")
    prompt, question = random_tokens(of, 20), random_tokens(of, 3, seed=1)
    end_token = int(answer(of, read(of, prompt[None]), [(question, 1)]))
    cache = read(of, prompt[None])
    replies = answer(of, cache, [(question, 50)], end_token)
    assert replies.tolist() == [[end_token] * 50]
    assert cache.get_seq_length() == 23  # and not 23 + 49


def test_what_cannot_be_compressed():
    of = model("small_llama")
    arms = [methods.H2O(), methods.Full()]
    seen = read_for(of, random_tokens(of, 30), arms)
    for budget, recent, message in (
        (0, 0, "budget is 0; it must be at least 1 entry"),
        (-3, 0, "budget is -3"),
        (16, 17, "recent is 17; allowed is 0 to the budget, 16"),
        (16, -1, "recent is -1; allowed is 0 to the budget, 16"),
    ):
        with pytest.raises(ValueError, match=message):
            check_budget(budget, recent)
        with pytest.raises(ValueError, match=message):
            compressed(seen, arms[:1], [0], budget, recent)
    with pytest.raises(ValueError, match="full evicts nothing"):
        compressed(seen, arms, [0, 1], 16, 4)
    with pytest.raises(ValueError, match="methods is empty"):
        compressed(seen, [], [], 16, 4)
    with pytest.raises(ValueError, match="shorter"):
        compressed(seen, arms[:1] * 2, [0], 16, 4)


def test_what_cannot_be_answered():
    of = model("small_llama")
    cache, question = read(of, random_tokens(of, 1, 30)), random_tokens(of, 2)
    with pytest.raises(ValueError, match="turns is empty"):
        answer(of, cache, [])
    for wrong in ((question[:0], 3), (question, 0)):
        with pytest.raises(ValueError, match="a turn has . tokens and a reply of .; at least 1"):
            answer(of, cache, [(question, 1), wrong])
    assert cache.get_seq_length() == 30, "nothing was fed"
