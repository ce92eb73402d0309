"""The rules that decide where no policy does: those of the routing problem, on plain numbers.

    heuristic = Heuristic("least_requests")
    heuristic.probabilities(question.seen, question.allowed)  # [R]

Replicas that are equally good have equal chances, and the chance of the one that is taken is
logged; so what a heuristic did can be learned from, too.
"""

import numpy as np

from marlserve.envs.replica_routing import rules
from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured

_BY_SCORE: dict[str, rules.Rule] = {
    "least_requests": rules.least_requests,
    "least_tokens": rules.least_tokens,
    "session_affinity": rules.session_affinity,
    "prefix_affinity": rules.prefix_affinity,
    "cache_aware": rules.cache_aware,
    "random": lambda seen, config: np.zeros(seen.requests.shape),
}
NAMES = (*_BY_SCORE, "power_of_two")
_CONFIG = Config()  # which none of these rules reads


class Heuristic:
    """The rule of that name.

    Raises:
        ValueError: if there is none.
    """

    def __init__(self, name: str = "least_requests"):
        if name not in NAMES:
            raise ValueError(f"heuristic is {name!r}; allowed is one of {NAMES}")
        self.name = name
        self._scores = _BY_SCORE.get(name, rules.least_requests)
        self._of_scores = _better_of_two if name == "power_of_two" else _best

    def probabilities(self, seen: Measured, allowed: np.ndarray) -> np.ndarray:
        """The chance of each replica, [R]; 0 of those that are not allowed."""
        scores = self._scores(seen, _CONFIG)
        if allowed.all():
            return self._of_scores(scores)
        chances = np.zeros(len(scores))
        chances[allowed] = self._of_scores(scores[allowed])
        return chances


def _best(scores: np.ndarray) -> np.ndarray:
    """Those with the lowest score, equally."""
    best = scores == scores.min()
    return best / best.sum()


def _better_of_two(scores: np.ndarray) -> np.ndarray:
    """The one with the lower score of two at random, either one if they are equal."""
    number = len(scores)
    if number == 1:
        return np.ones(1)
    wins = (scores[:, None] < scores).sum(axis=1)
    draws = (scores[:, None] == scores).sum(axis=1) - 1  # not with itself
    return (wins + 0.5 * draws) / (number * (number - 1) / 2)
