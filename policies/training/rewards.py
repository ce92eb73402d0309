"""Running mean and standard deviation of the rewards that were sampled.

Returns grow with the mean reward over 1 - gamma, and a value network takes long to reach that
level. Standardised rewards start it there. Subtracting the mean leaves the order of policies as it
is only if all episodes last equally long; where ending early is a choice, it is not.
"""

import numpy as np

from marlserve.policies.sampling.sequences import ACTIVE, REWARDS, Sequences


class RewardStandardizer:
    """Chan's parallel update of the first two moments, over active agents' steps."""

    def __init__(self):
        self._count, self._mean, self._sum_of_squares = 0, 0.0, 0.0

    def observe(self, sequences: Sequences) -> None:
        """Take the rewards of new sequences into account."""
        rewards = sequences[REWARDS][acted(sequences)].astype(np.float64)
        if not rewards.size:
            return
        difference, total = rewards.mean() - self._mean, self._count + rewards.size
        self._sum_of_squares += rewards.var() * rewards.size
        self._sum_of_squares += difference**2 * self._count * rewards.size / total
        self._mean += difference * rewards.size / total
        self._count = total

    def apply(self, sequences: Sequences) -> Sequences:
        """The same sequences with standardised rewards; zero where nobody acted."""
        mean, deviation = self.moments()
        rewards = (sequences[REWARDS] - mean) / deviation
        rewards = np.where(acted(sequences), rewards, 0.0).astype(np.float32)
        return Sequences({**sequences.columns, REWARDS: rewards})

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation, which is never zero."""
        variance = self._sum_of_squares / max(self._count, 1)
        return float(self._mean), max(float(np.sqrt(variance)), 1e-8)

    def get_state(self) -> dict[str, float]:
        return dict(vars(self))

    def set_state(self, state: dict[str, float]) -> None:
        vars(self).update(state)


def acted(sequences: Sequences) -> np.ndarray:
    """Which agents acted when, [R, L, N] bool."""
    return sequences[ACTIVE][:, :-1] & sequences.valid()[..., None]
