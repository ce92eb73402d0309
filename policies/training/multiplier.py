"""The price of a constraint, found while a policy learns: a Lagrange multiplier.

A problem with a constraint has `costs()`, which are to be at most 0 in the mean over steps. What is
learned from is the reward less a price times the cost, and after every sample the price rises by
what the sample cost in the mean, or falls, never below 0 (dual ascent). Where it comes to rest, the
constraint holds or costs nothing. Costs count in units of their root mean square, so that the same
rate suits problems of any size.

    Tessler et al.: Reward Constrained Policy Optimization, ICLR 2019,
    https://arxiv.org/abs/1805.11074

It belongs to the algorithm and not to the problem, whose episodes so stay the same for the same
seed, and which rules can play as it is.
"""

import numpy as np

from marlserve.policies.sampling.sequences import COSTS, REWARDS, Sequences
from marlserve.policies.training.rewards import acted


class Multiplier:
    """The price, and what it follows from.

    Args:
        rate: by how much it rises after a sample whose mean cost is the root mean square of all.
    """

    def __init__(self, rate: float):
        self._rate = rate
        self.price, self.mean_cost = 0.0, 0.0
        self._count, self._sum_of_squares = 0, 0.0

    @property
    def scale(self) -> float:
        """Root mean square of the costs so far; 1 if there were none."""
        return float(np.sqrt(self._sum_of_squares / max(self._count, 1))) or 1.0

    def observe(self, sequences: Sequences) -> None:
        """Take the costs of new sequences into account."""
        costs = sequences[COSTS][acted(sequences)].astype(np.float64)
        if not costs.size:
            return
        self._count += costs.size
        self._sum_of_squares += float(np.square(costs).sum())
        self.mean_cost = float(costs.mean())
        self.price = max(0.0, self.price + self._rate * self.mean_cost / self.scale)

    def apply(self, sequences: Sequences) -> Sequences:
        """The same sequences with the price taken off the rewards."""
        paid = (self.price / self.scale) * sequences[COSTS]
        rewards = (sequences[REWARDS] - paid).astype(np.float32)
        return Sequences({**sequences.columns, REWARDS: rewards})

    def get_state(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if name != "_rate"}

    def set_state(self, state: dict[str, float]) -> None:
        vars(self).update(state)
