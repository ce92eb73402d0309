"""What a step of load balancing is worth: functions of the problem, [B, K], larger is better.

A fairness reward compares one statistic of the flows, `config.reward_field`, over the servers: of
each balancer's own view, or for the team of the mean view. It says nothing of how slow the
servers are: a perfectly fair system can be slow. "latency" and "slowdown" do.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from marlserve.envs.sims.fairness import MEASURES, Measure


def fairness(problem, measure: Measure) -> np.ndarray:
    """A measure of `sims.fairness`, negated where smaller is fairer."""
    views = problem.statistic(problem.config.reward_field)  # [B, K, M]
    if problem.config.reward_scope == "team":
        views = views.mean(axis=1, keepdims=True)
    value = measure.function(views)
    return value if measure.larger_is_fairer else -value


def latency(problem) -> np.ndarray:
    """Minus the seconds that flows spent in the system in this step, per flow expected to arrive.

    By Little's law its mean over time is minus the mean latency in seconds, and unlike the
    latency of the flows that complete it also counts those still under way. A rejected flow costs
    nothing here.
    """
    spent_s, expected = problem.step_flow_s, problem.flows_per_step[:, None]
    if problem.config.reward_scope == "team":
        return -spent_s.sum(axis=1, keepdims=True) / expected
    return -spent_s / (expected / problem.config.num_balancers)


def slowdown(problem) -> np.ndarray:
    """Minus the mean of latency / work over the flows that completed in this step.

    Work counts as at least 1 ms: a flow without any would have no finite slowdown.

    Where none completed, the mean of the last step in which some did.
    """
    if problem.config.reward_scope == "team":
        return -problem.step_slowdown[:, :1]
    return -problem.step_slowdown


def excess_slowdown(problem) -> np.ndarray:
    """Minus the mean, over the flows sent in this step, of log(slowdown met / least slowdown).

    The slowdown that a server with c cores, speed s and n jobs offers is max(1, (n + 1) / c) / s:
    what one more job would suffer if nothing changed. Compared with the best server at that very
    moment, neither the jobs' sizes nor the load of the whole system are in it, and it follows the
    action at once, so it tells good weights from bad ones in far fewer steps than latency does.
    It is known to the simulator, hence for training only. Flows that the server rejects count, and
    so do servers out of the balancer's reach. 0 where nothing was sent.
    """
    excess, sent = problem.step_excess, problem.step_sent
    if problem.config.reward_scope == "team":
        excess, sent = excess.sum(axis=1, keepdims=True), sent.sum(axis=1, keepdims=True)
    return -excess / np.maximum(sent, 1)


REWARDS: dict[str, Callable[..., np.ndarray]] = {
    "latency": latency,
    "slowdown": slowdown,
    "excess_slowdown": excess_slowdown,
    **{name: partial(fairness, measure=measure) for name, measure in MEASURES.items()},
}
