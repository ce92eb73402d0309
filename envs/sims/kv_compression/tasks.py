"""Synthetic prompts whose follow-up questions need different parts of the KV cache.

A prompt is a document of facts "key value" scattered in filler words, and a log of lookups "QUERY
key value" of these facts. Questions follow after the cache was compressed, so that every token of
an answer depends on what was kept. Which lookups of the log tell what will be asked is the type:

    heavy        the same few hot keys all along, but not in the last lookups: a long memory
    shift_long   the topic changed half a log ago; questions on the new one
    shift_short  the topic changed a quarter of a log ago
    burst        hot keys in the last few lookups only: a short memory
    copy         the prompt ends with 15 words to repeat; nothing of the log is asked

A prompt may begin with a tag that names its type.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Token ids.
PAD, BOS, QUERY, SEPARATOR, COPY = range(5)
_FIRST_TAG, UNTAGGED = 5, 10
_KEYS, _VALUES, _WORDS = np.arange(16, 48), np.arange(48, 80), np.arange(80, 112)
VOCABULARY_SIZE = 112
SPECIAL_TOKENS = frozenset(range(16))

TYPES = ("heavy", "shift_long", "shift_short", "burst", "copy")
SPLITS = ("train", "test", "model", "validation")  # "model": what the small one is trained on
_COPIED, _FEWEST_LOOKUPS = 15, 8  # of fewer lookups, not one would be the last eighth


@dataclass(frozen=True, eq=False)
class Turn:
    """What is said after the prompt, and what is expected in reply."""

    tokens: np.ndarray  # [m] int64, fed to the model
    answer: np.ndarray  # [k] int64, the right reply; the model may err


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is in the cache when it is compressed, and the turns that follow."""

    tokens: np.ndarray  # [n] int64
    turns: tuple[Turn, ...]
    type: int  # index in TYPES
    tagged: bool


@dataclass(frozen=True)
class Family:
    """The sizes of prompts.

    Raises:
        ValueError: if a size is too small, or the facts do not fit in the prompt.
    """

    length: int = 256  # tokens of a prompt
    num_facts: int = 24  # of which each has a key of its own
    num_turns: int = 4  # questions after the prompt
    tagged: bool = False

    def __post_init__(self):
        for name, low in (("num_facts", 6), ("num_turns", 1)):
            value = getattr(self, name)
            if value < low:
                raise ValueError(f"{name} is {value}; it must be at least {low}")
        if self.num_facts > len(_KEYS):
            raise ValueError(f"num_facts is {self.num_facts}; there are {len(_KEYS)} keys")
        if self.num_lookups < _FEWEST_LOOKUPS:
            raise ValueError(
                f"length is {self.length}: too short for {self.num_facts} facts and "
                f"{_FEWEST_LOOKUPS} lookups"
            )

    @property
    def document_end(self) -> int:
        """Tokens before the log: begin, tag, document and separator."""
        return max(2 * self.num_facts + 4, self.length // 2 - 8)

    @property
    def num_lookups(self) -> int:
        return (self.length - self.document_end) // 3

    def prompt(self, seed: int, split: str, index: int) -> Prompt:
        """The prompt with this number: the same one whenever it is asked for.

        Raises:
            ValueError: for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; allowed is one of {SPLITS}")
        generator = np.random.default_rng((seed, SPLITS.index(split), index))
        return self.draw(generator, int(generator.integers(len(TYPES))))

    def draw(self, generator: np.random.Generator, type_: int) -> Prompt:
        """A new prompt of this type, an index in TYPES.

        Raises:
            ValueError: for an unknown type.
        """
        if not 0 <= type_ < len(TYPES):
            raise ValueError(f"type_ is {type_}; allowed is 0 to {len(TYPES) - 1}")
        kind = TYPES[type_]
        keys = generator.permutation(_KEYS)[: self.num_facts]
        values = generator.choice(_VALUES, self.num_facts)
        tag = _FIRST_TAG + type_ if self.tagged else UNTAGGED
        document = self._document(generator, keys, values)
        facts = dict(zip(keys.tolist(), values.tolist(), strict=True))
        hot, log = self._lookups(generator, kind, keys)
        lookups = [token for key in log for token in (QUERY, key, facts[key])]
        start = [BOS, tag, *document, SEPARATOR]
        spare = self.length - len(start) - len(lookups)
        words = generator.choice(_WORDS, spare)
        if kind == "copy":
            copied = words[1:][-_COPIED:]
            filler = words[: spare - 1 - len(copied)]
            tokens = [*start, *filler, *lookups, COPY, *copied]
            turns: tuple[Turn, ...] = (Turn(np.array([COPY]), copied),)
        else:
            tokens = [*start, *words, *lookups]
            asked = np.resize(generator.permutation(hot), self.num_turns)
            turns = tuple(
                Turn(np.array([QUERY, key]), np.array([facts[key]])) for key in asked.tolist()
            )
        return Prompt(np.array(tokens), turns, type_, self.tagged)

    def _document(
        self, generator: np.random.Generator, keys: np.ndarray, values: np.ndarray
    ) -> Iterator[int]:
        """Facts in the order of the keys, at random places among words."""
        num_words = self.document_end - 3 - 2 * len(keys)
        places = np.zeros(num_words + len(keys), bool)
        places[generator.permutation(len(places))[: len(keys)]] = True
        facts = zip(keys.tolist(), values.tolist(), strict=True)
        words = iter(generator.choice(_WORDS, num_words).tolist())
        for is_fact in places:
            yield from next(facts) if is_fact else (next(words),)

    def _lookups(
        self, generator: np.random.Generator, kind: str, keys: np.ndarray
    ) -> tuple[np.ndarray, list[int]]:
        """The keys that will be asked for, and those of the log in their order."""
        keys, number = generator.permutation(keys), self.num_lookups
        num_hot, num_stale = max(2, len(keys) // 6), max(2, len(keys) // 4)
        hot, stale, rest = np.split(keys, [num_hot, num_hot + num_stale])
        cold = keys[num_hot:]
        if kind == "copy":
            spare = (self.length - self.document_end) % 3
            number -= math.ceil((1 + _COPIED - spare) / 3)
            return hot, generator.choice(cold, number).tolist()
        if kind == "heavy":
            last = max(2, number // 7)
            early = _mixture(generator, number - last, hot, 0.55, cold)
            return hot, [*early, *generator.choice(cold, last).tolist()]
        last = number // {"shift_long": 2, "shift_short": 4, "burst": 8}[kind]
        early = _mixture(generator, number - last, stale, 0.8, rest)
        if kind == "burst":
            return hot, [*early, *np.resize(hot, last).tolist()]
        return hot, [*early, *_mixture(generator, last, hot, 0.75, rest)]


def _mixture(
    generator: np.random.Generator, number: int, often: np.ndarray, share: float, else_: np.ndarray
) -> list[int]:
    """So many keys: of `often` with probability `share`, otherwise of the others."""
    other = else_ if len(else_) else often
    drawn = np.where(
        generator.random(number) < share,
        generator.choice(often, number),
        generator.choice(other, number),
    )
    return drawn.tolist()
