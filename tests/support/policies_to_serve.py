"""Policy files of the agent service, in a store."""

from pathlib import Path

from serving_cases import policy_file

from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.replica_state import features


def publish(folder: Path, values=(0.0, 0.5, 1.0), num_replicas: int = 3, **training) -> str:
    """One that thinks so of each replica; its version."""
    names = features(num_replicas)
    file = policy_file(values, 0.0, len(names), names, training)
    return PolicyStore(folder).publish(file)
