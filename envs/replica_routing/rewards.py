"""What a step of routing is worth: functions of the problem, [B, G], larger is better."""

from collections.abc import Callable

import numpy as np


def foreseen(problem) -> np.ndarray:
    """Minus the seconds that a gateway's decision costs all requests, over `reward_unit_s`.

    That is how much later first tokens (`ttft_weight`) and last ones (`e2e_weight`) come, of the
    request itself and of all others at its replica, if no more requests came: what the simulator
    foresees as the request is sent, from the true state and the true number of output tokens.
    Later decisions are charged with what they change, so the sum over an episode is minus the
    weighted times that all requests took, but for what estimates are off, and what changes of
    replicas do to requests under way. A request that failed costs `failure_s`. Credited to the
    gateway that decided, or to all of them by reward_scope="team".
    """
    config, decisions = problem.config, problem.gateways.decisions
    cost_s = config.ttft_weight * decisions["ttft_s"] + config.e2e_weight * decisions["e2e_s"]
    return _shared(problem, -(cost_s + config.failure_s * decisions["failures"]))


def latency(problem) -> np.ndarray:
    """Minus the seconds that requests spent in the system in this step, over `reward_unit_s`: until
    their first token, by `ttft_weight`, and until their last one, by `e2e_weight`.

    By Little's law its sum is that of "foreseen", and of what was under way as the warm-up ended;
    but it comes as time goes by, with nothing to tell which decision it is due to: the same for
    all gateways.
    """
    return np.repeat(-problem.step_cost_s[:, None], problem.config.num_gateways, axis=1) / (
        problem.config.reward_unit_s * problem.config.num_gateways
    )


def goodput(problem) -> np.ndarray:
    """Requests that ended in this step within the limits of both latencies, less those that failed;
    credited to the gateway that sent them."""
    decisions = problem.gateways.decisions
    good = decisions["within_slo"] - decisions["failures"]
    return _shared(problem, problem.config.reward_unit_s * good)


def source(problem) -> np.ndarray:
    """The agent service's reward of the request that was sent, see `replica_routing.source`, by the
    latency that the simulator foresees if no more requests come, and the loads with the request.

    Credited at once, to the gateway that sent it; not over `reward_unit_s`. What became of requests
    is in the metric `mean_source_reward`.
    """
    return _shared(problem, problem.config.reward_unit_s * problem.source_reward)


def _shared(problem, values: np.ndarray) -> np.ndarray:
    values = values / problem.config.reward_unit_s
    if problem.config.reward_scope == "team":
        return np.repeat(values.mean(axis=1, keepdims=True), values.shape[1], axis=1)
    return values


REWARDS: dict[str, Callable[..., np.ndarray]] = {
    "foreseen": foreseen,
    "latency": latency,
    "goodput": goodput,
    "source": source,
}
