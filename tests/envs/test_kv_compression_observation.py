"""What a policy sees of a prompt: every group of features by hand, and what it must not see."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from kv_compression_cases import NO_TEXT
from transformers import AutoModelForCausalLM

from marlserve.envs.kv_compression import Config, Problem, observation
from marlserve.envs.kv_compression.live import measured, query_weights
from marlserve.envs.kv_compression.observation import Measured
from marlserve.envs.kv_compression.prompts import Prompt, Synthetic
from marlserve.envs.sims.kv_compression import language_model, small_llama
from marlserve.envs.sims.kv_compression.compression import prefill
from marlserve.envs.sims.kv_compression.tasks import SPECIAL_TOKENS

SIZES = {96: 12, 160: 18, 256: 24}  # tokens of a prompt, and facts in it
NUMBERS = {
    "tag": 5,
    "length": 1,
    "budget": 1,
    "diversity": 5 * 4,
    "repetition": 7 * 4,
    "recurrence": 16 * 15 // 2,
    "attention": 2 * 16,
    "block_attention": 16 * 15 // 2,
    "hidden": 2 * 128,
}


def config_of(length: int, **changes) -> Config:
    return Config(prompt_tokens=length, num_facts=SIZES[length], context=NO_TEXT, **changes)


def read(prompt: Prompt, config: Config) -> Measured:
    weights = query_weights(len(prompt.tokens))
    prefilled = prefill(language_model.load().model, prompt.tokens, weights)
    return measured(prompt, prefilled, config.tagged)


def seen(prompt: Prompt, config: Config) -> dict[str, np.ndarray]:
    known = read(prompt, config)
    return {group: observation.GROUPS[group](known, config) for group in NUMBERS}


@pytest.fixture(scope="module", params=SIZES)
def case(request):
    """A problem, one of its prompts, and the features of it."""
    config = config_of(request.param, tagged=True)
    prompt = Synthetic(config)[request.param % 7]
    return config, prompt, seen(prompt, config)


# By hand ------------------------------------------------------------------------------------------


def test_tag_length_and_budget(case):
    config, prompt, found = case
    assert found["tag"].tolist() == [float(kind == prompt.type) for kind in range(5)]
    assert found["length"].tolist() == [1.0]
    assert found["budget"].tolist() == [16 / config.prompt_tokens]
    short = read(replace(prompt, longest=4 * config.prompt_tokens, budget=1000), config)
    assert observation.length(short, config).tolist() == [0.25]
    assert observation.budget(short, config).tolist() == [1.0]


def test_diversity_is_the_type_token_ratio_of_windows(case):
    _, prompt, found = case
    tokens, number, expected = prompt.tokens.tolist(), len(prompt.tokens), []
    for end in (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4):
        for width in (1 / 16, 1 / 8, 1 / 4, 1 / 2):
            last = number - int(end * number)
            window = [x for x in tokens[last - int(width * number) : last] if x not in range(16)]
            expected.append(len(set(window)) / len(window))
    np.testing.assert_allclose(found["diversity"], expected, rtol=1e-12)


def test_repetition_is_the_share_of_new_tokens_that_were_said_before(case):
    _, prompt, found = case
    tokens, number, expected = prompt.tokens.tolist(), len(prompt.tokens), []
    for newest in (1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8):
        first = number - int(newest * number)
        new = [token for token in tokens[first:] if token not in SPECIAL_TOKENS]
        for before in (1 / 16, 1 / 8, 1 / 4, 1 / 2):
            known = tokens[first - int(before * number) : first]
            expected.append(sum(token in known for token in new) / max(len(new), 1))
    np.testing.assert_allclose(found["repetition"], expected, rtol=1e-12)


def test_recurrence_is_what_pairs_of_blocks_have_in_common(case):
    _, prompt, found = case
    size = len(prompt.tokens) // 16
    blocks = [prompt.tokens[i : i + size].tolist() for i in range(0, 16 * size, size)]
    counts = [Counter(x for x in block if x not in SPECIAL_TOKENS) for block in blocks]
    expected = [
        sum((counts[one] & counts[other]).values()) / size
        for one in range(16)
        for other in range(one + 1, 16)
    ]
    assert max(expected) > 0
    np.testing.assert_allclose(found["recurrence"], expected, rtol=1e-12)


def test_attention_and_hidden_states_are_those_of_the_plain_model(case):
    """By transformers' own attention, which gives its probabilities."""
    _, prompt, found = case
    model = AutoModelForCausalLM.from_pretrained(small_llama.WEIGHTS, attn_implementation="eager")
    with torch.inference_mode():
        told = model(prompt.tokens[None], output_attentions=True, output_hidden_states=True)
    probabilities = torch.cat(told.attentions).double().sum((0, 1)).numpy()  # [n, n]
    size = len(probabilities) // 16
    by_block = [probabilities[i : i + size].sum(0) for i in range(0, 16 * size, size)]
    expected = []
    for attention in (by_block[-1], sum(by_block)):
        for i in range(0, 16 * size, size):
            share = attention[i : i + size].sum() / attention.sum()
            expected.append(max(math.log10(share), -3) / 3)
    np.testing.assert_allclose(found["attention"], expected, atol=1e-5)
    assert min(expected) < -0.5

    expected = [
        by_block[i] @ by_block[j] / np.sqrt((by_block[i] ** 2).sum() * (by_block[j] ** 2).sum())
        for i in range(16)
        for j in range(i + 1, 16)
    ]
    np.testing.assert_allclose(found["block_attention"], expected, atol=1e-5)

    states = told.hidden_states[-1][0].double().numpy()
    means = [states.mean(0), states[-(len(states) // 8) :].mean(0)]
    expected = np.concatenate([mean / np.sqrt((mean**2).sum()) for mean in means])
    np.testing.assert_allclose(found["hidden"], expected, atol=1e-5)


# Sizes and ranges ---------------------------------------------------------------------------------


def test_features_are_equally_many_at_every_length_and_within_their_bounds(case):
    config, _, found = case
    assert {group: len(values) for group, values in found.items()} == NUMBERS
    assert tuple(NUMBERS) == NO_TEXT
    for group, values in found.items():
        assert np.abs(values).max() <= 1.0, group
        assert values.any(), group
    problem = Problem(config)
    observations = problem.reset([5])
    assert problem.observation_space.shape == (sum(NUMBERS.values()),)
    assert problem.observation_space.contains(observations[0, 0])


@pytest.mark.parametrize("number", [1, 2, 5, 17, 31])
def test_very_short_prompts_have_features_too(number):
    config = config_of(96)
    prompt = Synthetic(config)[0]
    short = replace(prompt, tokens=prompt.tokens[-number:])
    for group, values in seen(short, config).items():
        assert len(values) == NUMBERS[group]
        assert np.isfinite(values).all(), group
        assert np.abs(values).max() <= 1.0, group


def test_a_prompt_of_special_tokens_alone():
    config = config_of(96)
    prompt = replace(Synthetic(config)[0], tokens=torch.arange(16).repeat(3))
    found = seen(prompt, config)
    for group in ("diversity", "repetition", "recurrence"):
        assert not found[group].any(), group


# What must not be seen ----------------------------------------------------------------------------


def test_questions_are_not_seen():
    config = config_of(160, tagged=True)
    prompt = Synthetic(config)[3]
    others = replace(prompt, turns=((torch.tensor([17, 18, 19]), 7),))
    for group, values in seen(prompt, config).items():
        np.testing.assert_array_equal(values, seen(others, config)[group], err_msg=group)


def test_an_untagged_problem_does_not_show_the_type():
    """Neither by features that look at the label, nor by a token that names it."""
    config = config_of(160)
    prompts = Synthetic(config)
    assert len({prompts[i].type for i in range(30)}) == 5
    assert len({prompts[i].tokens[1].item() for i in range(30)}) == 1
    prompt = prompts[0]
    found = seen(prompt, config)
    assert not found["tag"].any()
    for kind in range(5):
        for group, values in seen(replace(prompt, type=kind), config).items():
            np.testing.assert_array_equal(values, found[group], err_msg=group)


def test_the_end_of_a_prompt_is_seen_whatever_its_length():
    """Fresh words at the end: no token of the newest windows was said before."""
    for length in SIZES:
        config = config_of(length)
        number = length // 4
        tokens = torch.cat([torch.full((length - number,), 100), 16 + torch.arange(number)])
        prompt = replace(Synthetic(config)[0], tokens=tokens)
        known = read(prompt, config)
        repetition = observation.repetition(known, config).reshape(7, 4)
        assert not repetition[:6].any()  # windows up to a quarter
        assert (repetition[6] > 0).all()
        diversity = observation.diversity(known, config).reshape(5, 4)
        assert (diversity[0, :3] == 1.0).all()
        assert diversity[0, 3] < 1.0
