"""Rules by which the scheduler of one of several clusters sends jobs to others, for all of [B, K].

By estimates a job goes where it starts first, if that is not where it is. An estimate is 0 where it
could start at once and no other waits, and else how long all processors take for what runs, waits
and is on its way, by limits: the backlog. Elsewhere it takes transfer_s in addition. Which of those
that stay is started is another rule's.

    sender initiated   a job is sent as it is submitted, or never: as in Shan, Oliker, Biswas: Job
                       superscheduler architecture and performance in computational grid
                       environments, SC 2003, but that they ask only where waits are long
    reallocating       a job may be sent as long as it waits, whenever its scheduler decides: as in
                       Caniou, Charrier, Desprez: Analysis of tasks reallocation in a dedicated
                       grid environment, CLUSTER 2010, who do so from time to time
"""

import numpy as np

from marlserve.envs.base import Policy
from marlserve.envs.job_scheduling.grid import Grid
from marlserve.envs.job_scheduling.observation import Measured
from marlserve.envs.job_scheduling.rules import Rule, first


def sending(rule: Rule, at_submission: bool, problem) -> Policy:
    """What sends the job that gains most, and chooses by a rule if none does; one cluster's
    scheduler only chooses.

    Args:
        at_submission: sender initiated, or else reallocating.
    """

    def act(
        observations: dict[str, np.ndarray], masks: dict[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        seen = problem.measured()
        chosen = first(rule, seen)
        if seen.grid is not None:
            gain_s = gains_s(seen, seen.grid, problem.config.transfer_s)
            if at_submission:
                gain_s = np.where(seen.wait_s[..., None, :] == 0.0, gain_s, -np.inf)
            flat = gain_s.reshape(*chosen.shape, -1)
            chosen = np.where(flat.max(axis=-1) > 0.0, flat.argmax(axis=-1), chosen)
        chosen = chosen.reshape(problem.num_envs, -1)
        return {agent: chosen[:, i] for i, agent in enumerate(problem.agents)}

    return act


def gains_s(seen: Measured, grid: Grid, transfer_s: float) -> np.ndarray:
    """By how many seconds sooner jobs would start elsewhere, [..., K, V], by estimates; -inf for
    those that may not be sent."""
    needs = seen.processors[..., None, :]
    alone = grid.waiting_jobs == 0
    alone[..., 0] = (grid.waiting_jobs[..., 0] == 1) & ~grid.keeps  # the job itself
    at_once = alone[..., None] & (needs <= grid.free_processors[..., None])
    own_s = seen.requested_s * seen.processors / seen.num_processors[..., None]
    waits_s = np.repeat(grid.backlog_s[..., None], needs.shape[-1], axis=-1)
    waits_s[..., 0, :] -= own_s  # of which the job itself is a part
    waits_s = np.where(at_once, 0.0, waits_s)
    gain_s = waits_s[..., :1, :] - waits_s - transfer_s
    goes = grid.may.copy()
    goes[..., 0, :] = False  # which is to start it here
    return np.where(goes, gain_s, -np.inf)
