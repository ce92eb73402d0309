"""The file that a program and its trainer share: JSON, or YAML, in the shape that RL4Sys gave it.

    {
      "client_id": "luna-landing",               the name of the policy, and of its clients
      "algorithm_name": "PPO",                   see `trainer.algorithms`
      "algorithm_parameters": {"input_size": 8, "act_dim": 4, "seed": 0, "gamma": 0.99, ...},
      "type": "onpolicy",                        or "offpolicy", as the algorithm is
      "train_server_address": "localhost:50051",
      "send_frequency": 10,                      trajectories that are sent together
      "max_traj_length": 1000,                   steps; longer episodes are sent in parts
      "act_limit": 1.0                           of numbers as actions, which td3 plays
    }

All but `client_id` may be left out. Beyond that there are the fields of `Program`: `token`, `ca`,
`certificate` and `key` for connections beyond this machine; who observes and plays what
(`observation_space`, `action_space`, `action_masks`, `agents`, `policies`; see
`trainer.program_spaces`) and `state_size`, the numbers of a state of all agents, for qmix; where
the trainer saves itself (`folder`), after how long without clients it sleeps until one comes
(`idle_after_s`), how far its learner stands back for other processes of the machine (`niceness`, 0
to 19), and how a client behaves (see `client.settings`). Unknown keys are errors.

`learners` says who learns: "shared" is one learner for all programs of this policy, "per_client"
one for each `client_name`, as long as there are at most `most_learners`; it begins when a client of
that name comes, and has a policy, a folder and a queue of its own.
"""

import json
import re
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Any

import yaml

from marlserve.envs import checks

TYPES = {"onpolicy": True, "offpolicy": False}
LEARNERS = ("shared", "per_client")
_FOLDER = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Program:
    """See the module.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    client_id: str
    algorithm_name: str = "PPO"
    algorithm_parameters: dict[str, Any] = field(default_factory=dict)
    act_limit: float = 1.0
    max_traj_length: int = 1_000
    type: str = ""
    train_server_address: str = "127.0.0.1:50051"
    send_frequency: int = 1
    observation_space: dict[str, Any] | None = None
    action_space: dict[str, Any] | None = None
    action_masks: bool = False
    agents: dict[str, str] | None = None
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    state_size: int = 0
    learners: str = LEARNERS[0]
    most_learners: int = 8
    client_name: str = ""
    token: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = ""
    folder: str = ""
    save_every_s: float = 60.0
    idle_after_s: float = 3_600.0
    niceness: int = 10
    buffer_steps: int = 20_000
    when_full: str = "drop"
    spill_folder: str | None = None
    spill_bytes: int = 256 * 1024**2
    reward_deadline_s: float = 0.0
    default_reward: float = 0.0
    fallback_action: float | tuple[float, ...] | dict[str, Any] = 0
    evaluator: str = "numba"
    seed: int | None = None

    def __post_init__(self) -> None:
        checks.tuples(self, "fallback_action")
        checks.require(self, "client_id", 0 < len(self.client_id) <= 200, "1 to 200 letters")
        for name in ("algorithm_name", "train_server_address"):
            checks.kind(self, name, str)
        checks.kind(self, "algorithm_parameters", dict)
        checks.number(self, "act_limit", 0.0, inf)
        checks.whole(self, "max_traj_length", 1, 1_000_000)
        checks.kind(self, "action_masks", bool)
        checks.kind(self, "policies", dict)
        checks.whole(self, "state_size", 0, 10_000_000)
        if self.agents is not None:
            good = isinstance(self.agents, dict) and all(
                isinstance(name, str) and name for pair in self.agents.items() for name in pair
            )
            checks.require(self, "agents", good and bool(self.agents), "{agent: policy}, or null")
        checks.choice(self, "type", ("", *TYPES))
        checks.choice(self, "learners", LEARNERS)
        checks.whole(self, "most_learners", 1, 10_000)
        checks.require(self, "client_name", len(self.client_name) <= 200, "at most 200 letters")
        checks.number(self, "save_every_s", 0.1, 1e7)
        checks.number(self, "idle_after_s", 1.0, inf)
        checks.whole(self, "niceness", 0, 19)

    @property
    def where(self) -> str:
        """The folder where the trainer saves itself."""
        return self.folder or f"runs/external/{self.client_id}"

    def of_client(self, name: str) -> "Program":
        """The same for one client alone, whose learner it is.

        Raises:
            ValueError: for a name that is no name of a folder, or too long.
        """
        if not _FOLDER.fullmatch(name):
            raise ValueError(
                f"client {name[:200]!r} cannot have a learner of its own; allowed are 1 to 100 of "
                "the letters a-z A-Z 0-9 _ . -, the first one not a dot"
            )
        return replace(self, client_id=f"{self.client_id}/{name}", folder=f"{self.where}/{name}")


def read(path: str | Path) -> Program:
    """What the file says.

    Raises:
        ValueError: if it is missing or broken, for unknown keys, with those that are known, and for
            bad values.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        said = yaml.safe_load(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    known = [each.name for each in fields(Program)]
    if not isinstance(said, dict) or "client_id" not in said:
        raise ValueError(f"{path} has no client_id; it may have {known}")
    if unknown := sorted(set(map(str, said)) - set(known)):
        raise ValueError(f"{path} has the unknown keys {unknown}; known are {known}")
    try:
        return Program(**said)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
