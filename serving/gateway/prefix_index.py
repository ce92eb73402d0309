"""Which replica should have the beginning of a prompt in its cache, by what was sent there.

A piece of a prompt is taken to be at a replica until as many tokens were sent there after it as
its cache holds, over the number of gateways, as they know of each other only that they are. That is
the rule of the simulated gateways, `envs.sims.gateways`.
"""

from collections.abc import Sequence

from marlserve.serving.gateway.prompts import Prompt
from marlserve.serving.gateway.replica import Replica

_MOST_PIECES = 100_000  # that are remembered of a replica, those that were sent last


def matched(prompt: Prompt, replicas: Sequence[Replica], num_gateways: int) -> list[int]:
    """Tokens of the prompt that each replica should have."""
    found = [0] * len(replicas)
    held = [(each.pieces, each.sent_tokens, each.cache_tokens / num_gateways) for each in replicas]
    for number, piece in enumerate(prompt.pieces, 1):
        tokens, is_anywhere = min(round(number * prompt.piece_tokens), prompt.tokens), False
        for place, (pieces, sent_tokens, room) in enumerate(held):
            mark = pieces.get(piece)
            if mark is not None and sent_tokens - mark < room:
                found[place], is_anywhere = tokens, True
        if not is_anywhere:
            break
    return found


def sent(prompt: Prompt, replica: Replica, num_gateways: int) -> None:
    """The prompt went there; `replica.sent_tokens` counts it already."""
    pieces, now = replica.pieces, replica.sent_tokens
    for piece in prompt.pieces:
        pieces.pop(piece, None)  # so that they are in the order in which they were sent
        pieces[piece] = now
    oldest = now - replica.cache_tokens / num_gateways
    while pieces:
        piece, mark = next(iter(pieces.items()))
        if mark > oldest and len(pieces) <= _MOST_PIECES:
            break
        del pieces[piece]
