"""Settings of the agent service, which environment variables give.

| variable | default | |
| --- | --- | --- |
| `REDIS_URL`; or `REDIS_HOST`, `REDIS_PORT` | none; 6379 | stream of experiences, and loads |
| `PROMETHEUS_URL` | none | latency, rate and success where a request does not say |
| `MODEL_PATH` | `/models/rl_agent.pth` | folder of policy versions, learner and log |
| `NUM_REPLICAS` | 2 | that the policy chooses from |
| `RL_EXPLORATION` | true | false: the policy's best, always |
| `RL_MODE`, `RL_SHARE` | policy; the mode's | see `decisions.modes` |
| `RL_HEURISTIC` | least_requests | see `decisions.heuristics` |
| `RL_MAX_EPSILON` | 0.1 | no more decisions than this explore, whatever epsilon is |
| `RL_MAX_POLICY_AGE_S` | none | older ones do not decide |
| `RL_TRAINER` | true | false: another process trains, or none |
| `RL_START` | none | a run of our DQN on the preset `source`: the trainer begins with its network |
| `TRAINING_INTERVAL`, `BATCH_SIZE`, `ITERATIONS` | 60, 64, 10 | the training in the background |
| `RL_TOKEN` | none | what callers have to show; needed beyond loopback |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from marlserve.envs import checks
from marlserve.serving.decisions.heuristics import NAMES
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.experience.stream import address
from marlserve.serving.replica_state import MOST_REPLICAS

MOST_BATCH, MOST_ITERATIONS = 4_096, 1_000  # of one command to train


@dataclass(frozen=True)
class AgentSettings:
    """See the module.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    redis_url: str = ""
    prometheus_url: str = ""
    model_path: Path = Path("/models/rl_agent.pth")
    num_replicas: int = 2
    exploration: bool = True
    mode: Mode = field(default_factory=Mode)
    heuristic: str = "least_requests"
    most_epsilon: float = 0.1
    oldest_policy_s: float = inf
    trainer: bool = True
    start: Path | None = None
    training_interval_s: float = 60.0
    batch_size: int = 64
    iterations: int = 10
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        checks.whole(self, "num_replicas", 2, MOST_REPLICAS)
        checks.choice(self, "heuristic", NAMES)
        checks.number(self, "most_epsilon", 0.0, 1.0)
        checks.number(self, "oldest_policy_s", 0.0, inf)
        checks.number(self, "training_interval_s", 0.1, 1e6)
        checks.whole(self, "batch_size", 1, MOST_BATCH)
        checks.whole(self, "iterations", 1, MOST_ITERATIONS)


def from_environment(variables: Mapping[str, str]) -> AgentSettings:
    """The settings that these variables give.

    Raises:
        ValueError: for a bad value, naming its variable or field.
    """
    share = variables.get("RL_SHARE")
    return AgentSettings(
        redis_url=address(variables),
        prometheus_url=variables.get("PROMETHEUS_URL", "").rstrip("/"),
        model_path=Path(variables.get("MODEL_PATH", "/models/rl_agent.pth")),
        num_replicas=_number(variables, "NUM_REPLICAS", 2, int),
        exploration=_truth(variables, "RL_EXPLORATION"),
        mode=Mode(
            variables.get("RL_MODE", "policy"),
            None if share is None else _number(variables, "RL_SHARE", 0.0, float),
        ),
        heuristic=variables.get("RL_HEURISTIC", "least_requests"),
        most_epsilon=_number(variables, "RL_MAX_EPSILON", 0.1, float),
        oldest_policy_s=_number(variables, "RL_MAX_POLICY_AGE_S", inf, float),
        trainer=_truth(variables, "RL_TRAINER"),
        start=Path(variables["RL_START"]) if variables.get("RL_START") else None,
        training_interval_s=_number(variables, "TRAINING_INTERVAL", 60.0, float),
        batch_size=_number(variables, "BATCH_SIZE", 64, int),
        iterations=_number(variables, "ITERATIONS", 10, int),
        token=variables.get("RL_TOKEN", ""),
    )


def _number(variables: Mapping[str, str], name: str, default: Any, kind: type) -> Any:
    try:
        return kind(variables.get(name, default))
    except ValueError as error:
        allowed = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} is {variables[name]!r}; allowed is {allowed}") from error


def _truth(variables: Mapping[str, str], name: str) -> bool:
    said = variables.get(name, "true").lower()
    if said not in ("true", "false"):
        raise ValueError(f"{name} is {said!r}; allowed is true or false")
    return said == "true"
