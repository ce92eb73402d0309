"""What a step of serving is worth: functions of the problem, [B], larger is better."""

from collections.abc import Callable

import numpy as np

from marlserve.envs.sims.serving_pool import J_PER_MWH

# Of the reward "source".
SUCCESS, SCORE_WEIGHT, ENERGY_WEIGHT, COST_CAP_USD, DENIAL = 0.5, 2.0, 1.0, 2e-4, -0.1


def revenue_usd(problem, flows: np.ndarray) -> np.ndarray:
    """What the completed requests among `flows` (`sims.serving_pool.FLOWS`) earn, by quality."""
    return problem.config.revenue_usd / problem.full_score * flows["score"]


def penalties_usd(problem, flows: np.ndarray) -> np.ndarray:
    """For seconds that requests waited, and for requests that gave up, failed or were denied."""
    config = problem.config
    return (
        config.wait_penalty_usd_per_s * flows["queue_s"]
        + config.loss_penalty_usd * (flows["timed_out"] + flows["failed"])
        + config.denial_penalty_usd * flows["denied"]
    )


def unserved_beyond_floor(problem, flows: np.ndarray) -> np.ndarray:
    """Requests that gave up, failed or were denied, less those that `service_floor` allows."""
    unserved = flows["timed_out"] + flows["failed"] + flows["denied"]
    return unserved - (1.0 - problem.config.service_floor) * flows["arrived"]


def profit_usd(problem, flows: np.ndarray) -> np.ndarray:
    """Revenue minus the cost of energy, idle servers' included, minus penalties."""
    return revenue_usd(problem, flows) - flows["cost_usd"] - penalties_usd(problem, flows)


def profit(problem) -> np.ndarray:
    """The profit of this step in dollars. Energy counts as it is drawn, revenue on completion."""
    return profit_usd(problem, problem.pool.step)


def source(problem) -> np.ndarray:
    """The mean over requests that ended in this step; 0 where none did.

    0.5 + 2 score - min(cost / $0.0002, 1) for a completed request, its cost at the price of its
    arrival; -0.1 for a denied one; 0 for one that failed or gave up. The source system weights
    latency with zero. A price above some $100 costs no more than the cap, and the mean does not
    see how many requests were served: it is here for comparison.
    """
    flows = problem.pool.step
    ended = flows["completed"] + flows["denied"] + flows["failed"] + flows["timed_out"]
    total = (
        SUCCESS * flows["completed"]
        + SCORE_WEIGHT * flows["score"]
        - ENERGY_WEIGHT * flows["capped_cost"]
        + DENIAL * flows["denied"]
    )
    return total / np.maximum(ended, 1.0)


def expected(problem, usd_per_mwh: np.ndarray) -> np.ndarray:
    """What a request that does not wait adds to the reward in the mean, by price and configuration:
    [..., C]. For "source", what it adds to the sum of which that is the mean."""
    profile, config = problem.profile, problem.config
    usd_per_mwh = np.asarray(usd_per_mwh)[..., None]
    if config.reward == "source":
        cost_usd = profile.energy_j * config.pue / J_PER_MWH * usd_per_mwh[..., None]
        capped = ENERGY_WEIGHT * np.minimum(cost_usd / COST_CAP_USD, 1.0)
        return (SUCCESS + SCORE_WEIGHT * profile.score - capped).mean(axis=-1)
    earned_usd = config.revenue_usd / problem.full_score * profile.score.mean(axis=-1)
    extra_j = profile.energy_j - config.idle_w * profile.service_s  # an idle server draws power too
    return earned_usd - extra_j.mean(axis=-1) * config.pue / J_PER_MWH * usd_per_mwh


REWARDS: dict[str, Callable[..., np.ndarray]] = {"profit": profit, "source": source}
