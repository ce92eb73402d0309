"""Experiences of a made-up service: a replica answers the sooner, the fewer requests it has."""

from pathlib import Path

import numpy as np

from marlserve.serving.experience.events import DECISION, OUTCOME, Event, new_ids
from marlserve.serving.experience.log import ExperienceLog
from marlserve.serving.replica_state import plain, reward


def events(count: int, num_replicas: int = 3, seed: int = 0) -> list[Event]:
    """Decisions at random, each with its outcome."""
    rng, ids, made = np.random.default_rng(seed), new_ids(), []
    for _ in range(count):
        loads = rng.integers(0, 12, num_replicas).tolist()
        action = int(rng.integers(num_replicas))
        latency_ms = 80.0 * (loads[action] + rng.random())
        state = plain(loads, queue_depth=float(sum(loads)), time_of_day=0.5)
        decision = {
            "time_s": 0.0,
            "num_replicas": num_replicas,
            "state": state,
            "action": action,
            "propensity": 1.0 / num_replicas,
        }
        earned = reward(latency_ms, True, [0.0] * num_replicas)
        outcome = {"time_s": 0.0, "success": True, "reward": earned}
        identity = next(ids)
        made += [Event(identity, DECISION, decision), Event(identity, OUTCOME, outcome)]
    return made


def log_of(path: Path, *args, **kwargs) -> Path:
    """A log with these events."""
    log = ExperienceLog(path, flush_s=0.01)
    for event in events(*args, **kwargs):
        log.put(event)
    log.close()
    return path
