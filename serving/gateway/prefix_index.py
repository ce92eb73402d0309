"""Which replica should have the beginning of a prompt in its cache, by what was sent there.

A piece of a prompt is taken to be at a replica until as many tokens were sent there after it as
its cache holds, times the number of gateways, as they know of each other only that they are. That
is the rule of the simulated gateways, `envs.sims.gateways`.
"""

from collections.abc import Sequence

from marlserve.serving.gateway.prompts import Prompt
from marlserve.serving.gateway.replica import Replica


class PrefixIndex:
    """Of one gateway.

    Args:
        num_gateways: that send to the same replicas.
        most_pieces: that are remembered, those that were sent last.
    """

    def __init__(self, num_gateways: int = 1, most_pieces: int = 200_000):
        self._num_gateways, self._most_pieces = num_gateways, most_pieces
        # {piece: {cache: tokens that had been sent there by then}}
        self._marks: dict[int, dict[int, int]] = {}

    def __len__(self) -> int:
        """Pieces that are remembered."""
        return len(self._marks)

    def matched(self, prompt: Prompt, replicas: Sequence[Replica]) -> list[int]:
        """Tokens of the prompt that each replica should have."""
        found = [0] * len(replicas)
        held = [(replica.cache, replica.sent_tokens, self._room(replica)) for replica in replicas]
        for number, piece in enumerate(prompt.pieces, 1):
            marks = self._marks.get(piece)
            if marks is None:
                break
            tokens, is_anywhere = min(round(number * prompt.piece_tokens), prompt.tokens), False
            for place, (cache, sent_tokens, room) in enumerate(held):
                mark = marks.get(cache)
                if mark is not None and sent_tokens - mark < room:
                    found[place], is_anywhere = tokens, True
            if not is_anywhere:
                break
        return found

    def sent(self, prompt: Prompt, replica: Replica) -> None:
        """The prompt went there; `replica.sent_tokens` counts it already."""
        marks = self._marks
        for piece in prompt.pieces:
            of_piece = marks.pop(piece, None) or {}
            of_piece[replica.cache] = replica.sent_tokens
            marks[piece] = of_piece
        while len(marks) > self._most_pieces:
            del marks[next(iter(marks))]

    def _room(self, replica: Replica) -> float:
        return replica.cache_tokens / self._num_gateways
