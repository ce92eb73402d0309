"""What a request says about its prompt: how long it is, and how it begins.

A prompt is cut into pieces; a piece is known by a hash of itself and of all before it, so that two
prompts have the same first pieces if they begin alike. Token ids are counted; of text, bytes are,
and `TokensPerByte` learns what that is in tokens from what engines say that they used.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

PIECE_TOKENS, PIECE_BYTES = 64, 256
_MOST_PIECES = 4_096  # what comes after them is not told apart
_FORGETS = 0.05  # weight of a new one


class Prompt(NamedTuple):
    """Of one request.

    Attributes:
        tokens: of all of it; of text an estimate. Whole ones: sums of them leave no rest.
        pieces: their hashes, of this process alone.
        piece_tokens: in each of them.
        num_bytes: of text; 0 of token ids.
    """

    tokens: int = 0
    pieces: tuple[int, ...] = ()
    piece_tokens: float = PIECE_TOKENS
    num_bytes: int = 0


class TokensPerByte:
    """Of text.

    Attributes:
        value: a running mean.
    """

    def __init__(self) -> None:
        self.value = 0.25

    def add(self, num_bytes: int, tokens: int) -> None:
        """What an engine counted."""
        if num_bytes > 0 and tokens > 0:
            self.value += _FORGETS * (tokens / num_bytes - self.value)


def prompt_of(body: dict[str, Any], tokens_per_byte: float) -> Prompt:
    """Of the body of a completion, or of a chat; empty, where it has none that can be read: the
    engine will say what is wrong."""
    seed = hash(str(body.get("model")))
    if "messages" in body:
        text = b"".join(_said(body["messages"]))
        return _of_text(text, seed, tokens_per_byte)
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return _of_text(prompt.encode(errors="replace"), seed, tokens_per_byte)
    if not isinstance(prompt, list) or not prompt:
        return Prompt()
    if all(isinstance(x, int) for x in prompt):
        return _of_ids(prompt, seed)
    # Several prompts go to one engine together: where the first one fits, by the length of all.
    each = [prompt_of({**body, "prompt": x}, tokens_per_byte) for x in prompt if x != []]
    if not each:
        return Prompt()
    return each[0]._replace(
        tokens=sum(one.tokens for one in each), num_bytes=sum(one.num_bytes for one in each)
    )


def _of_ids(ids: list[int], seed: int) -> Prompt:
    pieces = []
    for start in range(0, min(len(ids), _MOST_PIECES * PIECE_TOKENS), PIECE_TOKENS):
        seed = hash((seed, *ids[start : start + PIECE_TOKENS]))
        pieces.append(seed)
    return Prompt(len(ids), tuple(pieces))


def _of_text(text: bytes, seed: int, tokens_per_byte: float) -> Prompt:
    pieces = []
    for start in range(0, min(len(text), _MOST_PIECES * PIECE_BYTES), PIECE_BYTES):
        seed = hash((seed, text[start : start + PIECE_BYTES]))
        pieces.append(seed)
    tokens = round(len(text) * tokens_per_byte)
    return Prompt(tokens, tuple(pieces), PIECE_BYTES * tokens_per_byte, len(text))


def _said(messages: Any) -> Iterator[bytes]:
    """Messages one after the other, so that those of a chat's next turn begin with them."""
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            role, content = str(message.get("role")), message["content"]
            yield f"{role}\n{content}\n".encode(errors="replace")
        else:
            yield json.dumps(message).encode()
