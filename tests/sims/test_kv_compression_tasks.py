"""Synthetic prompts: the same ones again, of exact length, and of the type that they say."""

from itertools import pairwise

import numpy as np
import pytest

from marlserve.envs.sims.kv_compression.tasks import (
    BOS,
    COPY,
    PAD,
    QUERY,
    SEPARATOR,
    SPECIAL_TOKENS,
    SPLITS,
    TYPES,
    UNTAGGED,
    VOCABULARY_SIZE,
    Family,
    Prompt,
)

FAMILIES = (
    Family(),
    Family(tagged=True),
    Family(length=255, num_facts=32, num_turns=9),
    Family(length=96, num_facts=12, num_turns=1),
    Family(length=40, num_facts=6, num_turns=3),
)
LOOKUPS = [kind for kind in TYPES if kind != "copy"]


def drawn(family: Family, kind: str, number: int) -> list[Prompt]:
    generator = np.random.default_rng(0)
    return [family.draw(generator, TYPES.index(kind)) for _ in range(number)]


def document(prompt: Prompt) -> list[int]:
    tokens = prompt.tokens.tolist()
    return tokens[2 : tokens.index(SEPARATOR)]


def facts(prompt: Prompt) -> dict[int, int]:
    """Of the document: a key is what lookups ask for, and its value follows."""
    found = document(prompt)
    return {key: value for key, value in pairwise(found) if 16 <= key < 48}


def log(prompt: Prompt) -> list[int]:
    """The keys that were looked up in the prompt, in their order."""
    tokens = prompt.tokens
    return tokens[1:][tokens[:-1] == QUERY].tolist()


def hot(prompt: Prompt) -> set[int]:
    return {int(turn.tokens[1]) for turn in prompt.turns}


def saying(prompt: Prompt) -> bytes:
    parts = [x for turn in prompt.turns for x in (turn.tokens, turn.answer)]
    return b"|".join(part.astype(np.int64).tobytes() for part in (prompt.tokens, *parts))


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_number_is_the_same_prompt(split):
    order = np.random.default_rng(0).permutation(60)
    first = [saying(Family().prompt(3, split, i)) for i in range(60)]
    again = {i: saying(Family().prompt(3, split, i)) for i in order.tolist()}
    assert first == [again[i] for i in range(60)]


def test_splits_and_seeds_never_share_a_prompt():
    prompts = [
        saying(Family().prompt(seed, split, index))
        for seed in range(3)
        for split in SPLITS
        for index in range(100)
    ]
    assert len(set(prompts)) == len(prompts)


def test_types_come_equally_often():
    counts = np.bincount([Family().prompt(0, "train", i).type for i in range(1000)], minlength=5)
    assert (abs(counts - 200) < 4 * np.sqrt(1000 * 0.2 * 0.8)).all()


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("kind", TYPES)
def test_the_form_of_a_prompt(family, kind):
    for prompt in drawn(family, kind, 20):
        tokens = prompt.tokens
        assert (tokens.dtype, tokens.shape) == (np.int64, (family.length,))
        assert set(tokens.tolist()) < set(range(VOCABULARY_SIZE)) - {PAD}
        assert tokens[0] == BOS
        tag = 5 + TYPES.index(kind) if family.tagged else UNTAGGED
        assert [x for x in tokens if 5 <= x < 16] == [tag] == [tokens[1]]
        assert set(tokens[tokens < 16].tolist()) <= SPECIAL_TOKENS
        assert (TYPES[prompt.type], prompt.tagged) == (kind, family.tagged)
        assert len(facts(prompt)) == family.num_facts
        assert tokens.tolist().index(SEPARATOR) == family.document_end - 1
        for key, value in zip(log(prompt), tokens[2:][tokens[:-2] == QUERY], strict=True):
            assert facts(prompt)[key] == value
        number = 1 if kind == "copy" else family.num_turns
        assert len(prompt.turns) == number
        if kind != "copy":
            assert len(log(prompt)) == family.num_lookups


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("kind", LOOKUPS)
def test_answers_are_in_the_document(family, kind):
    for prompt in drawn(family, kind, 20):
        for turn in prompt.turns:
            query, key = turn.tokens
            assert query == QUERY
            assert turn.answer.tolist() == [facts(prompt)[key]]


@pytest.mark.parametrize("length", [40, 48, 96, 160, *range(254, 260)])
def test_the_words_to_copy_are_the_end_of_the_prompt(length):
    """As many at every length: the model knows how far it has to look back."""
    family = Family(length, num_facts=6)
    for prompt in drawn(family, "copy", 10):
        (turn,) = prompt.turns
        assert turn.tokens.tolist() == [COPY]
        assert prompt.tokens[-15:].tolist() == turn.answer.tolist()
        assert np.flatnonzero(prompt.tokens == COPY).tolist() == [length - 16]
        assert not set(turn.answer.tolist()) & (set(facts(prompt)) | SPECIAL_TOKENS)


def share(prompts: list[Prompt], part: slice) -> float:
    """Of the lookups in this part of the log, how many are of the keys asked for afterwards."""
    return float(np.mean([key in hot(p) for p in prompts for key in log(p)[part]]))


def test_what_the_log_tells():
    """45 lookups of 24 facts, 4 of them hot; shares as in the manual, within 4 standard errors."""
    prompts = {kind: drawn(Family(), kind, 150) for kind in LOOKUPS}
    assert {len(hot(p)) for kind in LOOKUPS for p in prompts[kind]} == {4}
    for kind, quiet, loud, expected in (
        ("heavy", slice(39, 45), slice(39), 0.55),
        ("shift_long", slice(23), slice(23, 45), 0.75),
        ("shift_short", slice(34), slice(34, 45), 0.75),
        ("burst", slice(40), slice(40, 45), 1.0),
    ):
        assert share(prompts[kind], quiet) == 0.0
        number = 150 * (loud.stop - (loud.start or 0))
        error = np.sqrt(expected * (1 - expected) / number)
        assert abs(share(prompts[kind], loud) - expected) <= 4 * error


@pytest.mark.parametrize("kind", ["shift_long", "shift_short", "burst"])
def test_an_old_topic_was_as_frequent(kind):
    """Six other keys make 80 % of the lookups before the change: counting all does not help."""
    for prompt in drawn(Family(), kind, 20):
        before = log(prompt)[: {"shift_long": 23, "shift_short": 34, "burst": 40}[kind]]
        counts = np.sort(np.bincount(before))[::-1]
        assert counts[:6].sum() >= 0.55 * len(before)


def test_every_type_shows_in_the_shortest_log():
    """In the last lookups of a burst there is at least one of its keys."""
    family = Family(length=40, num_facts=6)
    assert family.num_lookups == 8
    assert all(log(p)[-1] in hot(p) for p in drawn(family, "burst", 20))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_facts": 5}, "num_facts is 5; it must be at least 6"),
        ({"num_facts": 33}, "num_facts is 33; there are 32 keys"),
        ({"num_turns": 0}, "num_turns is 0; it must be at least 1"),
        ({"length": 75}, "length is 75: too short for 24 facts and 8 lookups"),
        ({"length": 39, "num_facts": 6}, "length is 39: too short for 6 facts"),
        ({"length": -256}, "length is -256: too short"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        Family(**sizes)
    assert Family(length=76).num_lookups == 8


def test_unknown_splits_and_types():
    with pytest.raises(ValueError, match=r"split is 'tests'; allowed is one of \('train', 'test'"):
        Family().prompt(0, "tests", 0)
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match=f"type_ is {wrong}; allowed is 0 to 4"):
            Family().draw(np.random.default_rng(0), wrong)
