"""Rules by which the scheduler of one of several clusters sends jobs to others, for all of [B, K].

By estimates a job goes where it starts first, if that is not where it is, see `grid.sooner_s`.
Which of those that stay is started is another rule's.

    sender initiated   a job is sent as it is submitted, or never: a simple one of Shan, Oliker,
                       Biswas: Job superscheduler architecture and performance in computational
                       grid environments, SC 2003
    reallocating       a job may be sent as long as it waits, whenever its scheduler decides; that
                       waiting jobs move to other clusters is of Caniou, Charrier, Desprez: Analysis
                       of tasks reallocation in a dedicated grid environment, CLUSTER 2010
    by length          as reallocating, but the smallest clusters are left to jobs that may run so
                       long at most: to each server an interval of sizes, as in Harchol-Balter,
                       Crovella, Murta: On choosing a task assignment policy for a distributed
                       server system, JPDC 1999; on supercomputers Schroeder, Harchol-Balter:
                       Evaluation of task assignment policies for supercomputing servers: the case
                       for load unbalancing and fairness, HPDC 2000
"""

from collections.abc import Callable

import numpy as np

from marlserve.envs.base import Policy
from marlserve.envs.job_scheduling.grid import Grid, sooner_s
from marlserve.envs.job_scheduling.observation import Measured
from marlserve.envs.job_scheduling.rules import Rule, first

Gains = Callable[[Measured, Grid, float], np.ndarray]
_SURELY_S = 1e12  # more than anyone waits


def sending(rule: Rule, gains: Gains, problem) -> Policy:
    """What sends the job that gains most, and chooses by a rule if none does; one cluster's
    scheduler only chooses.

    Args:
        gains: one of those below.
    """

    def act(
        observations: dict[str, np.ndarray], masks: dict[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        seen = problem.measured()
        chosen = first(rule, seen)
        if seen.grid is not None:
            gain_s = gains(seen, seen.grid, problem.config.transfer_s)
            flat = gain_s.reshape(*chosen.shape, -1)
            chosen = np.where(flat.max(axis=-1) > 0.0, flat.argmax(axis=-1), chosen)
        chosen = chosen.reshape(problem.num_envs, -1)
        return {agent: chosen[:, i] for i, agent in enumerate(problem.agents)}

    return act


def gains_s(seen: Measured, grid: Grid, transfer_s: float) -> np.ndarray:
    """By how many seconds sooner jobs would start elsewhere, [..., K, V], by estimates; -inf for
    those that may not be sent."""
    gain_s = sooner_s(grid, seen.processors, seen.requested_s, transfer_s)
    goes = grid.may.copy()
    goes[..., 0, :] = False  # which is to start it here
    return np.where(goes, gain_s, -np.inf)


def at_submission(seen: Measured, grid: Grid, transfer_s: float) -> np.ndarray:
    """The same of those that come now; -inf for all others."""
    return np.where(seen.wait_s[..., None, :] == 0.0, gains_s(seen, grid, transfer_s), -np.inf)


def by_length(seen: Measured, grid: Grid, transfer_s: float, longest_s: float) -> np.ndarray:
    """The same, but that jobs of over longest_s leave the smallest clusters, and never go there."""
    gain_s = gains_s(seen, grid, transfer_s)
    smallest = grid.num_processors == grid.num_processors.min(axis=-1, keepdims=True)  # [..., K]
    is_long = (seen.requested_s > longest_s)[..., None, :]
    gain_s = np.where(is_long & smallest[..., None], -np.inf, gain_s)
    return gain_s + _SURELY_S * (is_long & smallest[..., :1, None])
