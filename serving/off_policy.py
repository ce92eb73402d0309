"""What versions of the policy would have got, estimated from the log: a table.

    python -m marlserve.serving.off_policy --log models/experience.sqlite --store models \\
        --num-replicas 3

Of all logged decisions whose outcome and chance are known, by `envs.off_policy_estimates`: the mean
reward of each version's best action, and of what was done. A version may be one in shadow mode, or
one that nobody has played yet; what counts is that the log has explored what it would do, which
`effective samples` tells.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from marlserve.envs import off_policy_estimates as estimates
from marlserve.envs.off_policy_estimates import OffPolicyEstimate
from marlserve.envs.replica_routing.observation import some_or_all
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.serving.decisions.player import AGENT
from marlserve.serving.experience.events import joined
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.training.logged import AgentLog


class Logged(NamedTuple):
    """n decisions."""

    seen: np.ndarray  # [n, S], as policies see states
    allowed: np.ndarray  # [n, R] bool
    actions: np.ndarray  # [n]
    chances: np.ndarray  # of what was done, [n]
    rewards: np.ndarray  # [n]


def logged(path: str | Path, num_replicas: int) -> Logged:
    """Decisions about so many replicas by a state, with a chance and an outcome.

    Raises:
        ValueError: if there is no log, or not two of them in it.
    """
    rows, seen = [], AgentLog(num_replicas)
    for experience in joined(path):
        said = experience.decision
        if said["num_replicas"] == num_replicas and said["state"] and said["propensity"]:
            known = (said["action"], said["propensity"], experience.outcome["reward"])
            rows.append((*seen.decided(said), *known))
    if len(rows) < 2:
        raise ValueError(f"{path} has {len(rows)} decisions to estimate from; it takes 2 at least")
    observations, allowed, *rest = map(np.array, zip(*rows, strict=True))
    return Logged(observations, some_or_all(allowed), *rest)


def estimated(file: PolicyFile, log: Logged) -> dict[str, OffPolicyEstimate]:
    """The mean reward of what the policy thinks best, by each of the estimates.

    Raises:
        ValueError: for a policy of other replicas, and if it does nothing of what was done.
    """
    mask = log.allowed[:, None]  # [n, 1, R]
    best = NumpyPolicy(file)({AGENT: log.seen}, {AGENT: mask})[AGENT]
    target = np.eye(log.allowed.shape[1])[best]
    weights = estimates.importance_weights(best == log.actions, log.chances)
    model = estimates.reward_model(log.seen, log.actions, log.rewards, target.shape[1])
    return {
        "ips": estimates.ips(log.rewards, weights),
        "snips": estimates.snips(log.rewards, weights),
        "doubly robust": estimates.doubly_robust(log.rewards, weights, log.actions, model, target),
    }


def main(log: Path, store: Path, num_replicas: int = 2) -> None:
    """Print the table.

    Args:
        log: of experiences.
        store: folder of the policy's versions.
        num_replicas: R.
    """
    found, policies = logged(log, num_replicas), PolicyStore(store)
    print("| policy | mean reward | by | effective samples |")
    print("| --- | ---: | --- | ---: |")
    _show("what was done", "log", estimates.ips(found.rewards, np.ones(len(found.rewards))))
    for version in policies.versions():
        for how, estimate in estimated(policies.read(version), found).items():
            _show(f"version {version}", how, estimate)


def _show(policy: str, how: str, x: OffPolicyEstimate) -> None:
    interval = f"{x.value:.3f} [{x.low:.3f}, {x.high:.3f}]"
    print(f"| {policy} | {interval} | {how} | {x.effective_samples:.0f} |")


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
