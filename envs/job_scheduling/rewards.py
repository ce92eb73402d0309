"""What a step of scheduling is worth: functions of the problem, [B], larger is better.

Those that add up over jobs are paid as time goes by, for what the jobs that wait lose by waiting:
summed over an episode without discount they are what comes at its end in `source`, so the optimum
is the same, and a decision that holds up many is charged in its own step. `utilisation` and
`user_fairness` are no sums over jobs, a ratio and a maximum, and come at the end.
"""

from collections.abc import Callable

import numpy as np

_HOUR_S = 3600.0


def bounded_slowdown(problem) -> np.ndarray:
    """Minus the rise of mean max(1, (wait_s + run_s) / max(run_s, 10 s)); in sum, 1 minus it."""
    return -problem.cluster.steps["bounded_slowdown"] / problem.config.num_jobs


def gain(problem) -> np.ndarray:
    """By how much less the mean bounded slowdown will be at the end if the rule `base` goes on from
    here than if it had gone on before; in sum, than if it had chosen all. See `reference`."""
    return problem.reference.gains() / problem.config.num_jobs


def slowdown(problem) -> np.ndarray:
    """Minus the rise of mean wait_s / run_s."""
    return -problem.cluster.steps["slowdown"] / problem.config.num_jobs


def wait(problem) -> np.ndarray:
    """Minus the rise of the mean wait in hours."""
    return -problem.cluster.steps["wait_s"] / _HOUR_S / problem.config.num_jobs


def turnaround(problem) -> np.ndarray:
    """Minus the rise of the mean time from submission to end in hours: waits as they pass, run
    times as they start."""
    steps = problem.cluster.steps
    return -(steps["wait_s"] + steps["started_run_s"]) / _HOUR_S / problem.config.num_jobs


def utilisation(problem) -> np.ndarray:
    """At the end: the share of all processors that ran jobs from the first submission to the last
    end."""
    return _at_the_end(problem, "utilisation")


def user_fairness(problem) -> np.ndarray:
    """At the end: minus the largest mean bounded slowdown of a user; jobs whose user is not known
    count as those of one."""
    return -_at_the_end(problem, "max_user_bounded_slowdown")


def source(problem) -> np.ndarray:
    """At the end: minus the mean bounded slowdown."""
    return -_at_the_end(problem, "mean_bounded_slowdown")


def _at_the_end(problem, metric: str) -> np.ndarray:
    over = problem.cluster.over
    return np.where(over, problem.metrics()[metric], 0.0) if over.any() else np.zeros(len(over))


REWARDS: dict[str, Callable[..., np.ndarray]] = {
    reward.__name__: reward
    for reward in (
        *(bounded_slowdown, gain, slowdown, wait, turnaround, utilisation, user_fairness),
        source,
    )
}
