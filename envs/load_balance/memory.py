"""What balancers remember of their flows, for `observation.Measured`.

    memory = Memory(config, num_envs, num_pairs)      # a pair: balancer * M + server
    memory.reset(copy, seed)
    memory.add(copies, completed, ongoing)            # of one step
    memory.completed_per_s, memory.statistics(now_s)

It takes what a simulated balancer logs and what one in service does: see `sims.cluster_arrays.LOG`,
of which it reads pair, value_s and time_s.
"""

import numpy as np

from marlserve.envs.load_balance.config import Config
from marlserve.envs.sims.reservoir import DISCOUNT_PER_S, FEATURES, Reservoirs

Log = tuple[np.ndarray, np.ndarray]  # lengths [B], and LOG [B, >= length]


class Memory:
    """Of P pairs in each of B copies.

    Attributes:
        completed_per_s: flows, in a mean with weight 0.9 ** age_s, [B, P].
    """

    def __init__(self, config: Config, num_envs: int, num_pairs: int):
        self._step_s = config.step_s
        # Of completed flows first, then of flows in progress.
        self._reservoirs = Reservoirs(num_envs, 2 * num_pairs, rule=config.reservoir_rule)
        self.completed_per_s = np.zeros((num_envs, num_pairs))

    def reset(self, copy: int, seed: int) -> None:
        """Forget what one copy saw; `seed` (uint64) decides which samples it will keep."""
        self._reservoirs.reset(copy, seed)
        self.completed_per_s[copy] = 0.0

    def add(self, copies: np.ndarray, completed: Log, ongoing: Log) -> None:
        """One step of the copies with these indices; the others have not completed anything.

        Args:
            completed: since the last step; value_s: from arrival to completion.
            ongoing: flows in progress now; value_s: their time so far.
        """
        (num_envs, pairs), (lengths, log) = self.completed_per_s.shape, completed
        seen = self._reservoirs.seen[:, :pairs].copy()
        self._reservoirs.add(lengths, log)
        self._reservoirs.add(lengths, log, first=pairs)  # the last of a flow's durations
        counts = (self._reservoirs.seen[:, :pairs] - seen)[copies]
        before = self.completed_per_s[copies]
        self.completed_per_s[copies] = updated_rate(before, counts, self._step_s)
        playing = np.zeros(num_envs, np.int64)
        playing[copies] = 1
        lengths, flows = ongoing
        self._reservoirs.add(lengths * playing, flows, first=pairs)

    def statistics(self, now_s: np.ndarray) -> np.ndarray:
        """Of completed flows, and of flows in progress, at now_s [B]: [B, 2, P, 5], seconds."""
        num_envs, pairs = self.completed_per_s.shape
        return self._reservoirs.features(now_s).reshape(num_envs, 2, pairs, len(FEATURES))


def updated_rate(per_s: np.ndarray, counts: np.ndarray, step_s: float) -> np.ndarray:
    """A mean rate after one step more, with so many events in it: weights are 0.9 ** age_s."""
    kept = DISCOUNT_PER_S**step_s
    return kept * per_s + (1.0 - kept) * counts / step_s
