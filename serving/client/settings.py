"""How a client behaves."""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from marlserve.envs import checks

WHEN_FULL = ("drop", "spill", "wait")
EVALUATORS = ("numba", "numpy")


@dataclass(frozen=True)
class ClientSettings:
    """What a program tells of itself.

    Attributes:
        address: of the trainer.
        policy: its name there.
        client_id: what the trainer calls this client; "": as the policy.
        token: that the trainer wants to see; wants TLS beyond this machine.
        ca: a file with the certificate that the trainer's is held to, PEM; "": no TLS.
        send_frequency: fragments that are sent together, unless a second has passed.
        most_steps: of a fragment; episodes that are longer are sent in several.
        buffer_steps: that may wait to be sent; of an on-policy learner no more than a quarter of
            its batch, since they would be too old.
        when_full: what happens to what is too much: "drop" loses the oldest fragments, "spill"
            writes them to files of `spill_folder`, at most `spill_bytes`, which the program waits
            for, and "wait" lets it wait for the trainer before a fragment begins, which suits a
            simulator.
        reward_deadline_s: how long a fragment waits for rewards that are still unknown.
        default_reward: what these are then.
        fallback_action: what is done as long as there is no policy, by whoever acts; or {agent:
            what it does}.
        evaluator: of policies: "numba" is faster and takes seconds to compile, once per machine.
        seed: of what is drawn.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    address: str = "127.0.0.1:50051"
    policy: str = "policy"
    client_id: str = ""
    token: str = field(default="", repr=False)
    ca: str = ""
    send_frequency: int = 1
    most_steps: int = 1_000
    buffer_steps: int = 20_000
    when_full: str = "drop"
    spill_folder: Path | None = None
    spill_bytes: int = 256 * 1024**2
    reward_deadline_s: float = 0.0
    default_reward: float = 0.0
    fallback_action: float | tuple[float, ...] | dict[str, Any] = 0
    evaluator: str = "numba"
    seed: int | None = None

    def __post_init__(self) -> None:
        checks.tuples(self, "fallback_action")
        for name in ("address", "policy"):
            checks.require(self, name, bool(getattr(self, name)), "not empty")
        checks.whole(self, "send_frequency", 1, 100_000)
        checks.whole(self, "most_steps", 1, 1_000_000)
        checks.whole(self, "buffer_steps", self.most_steps, 1_000_000_000)
        checks.choice(self, "when_full", WHEN_FULL)
        checks.whole(self, "spill_bytes", 1)
        if (self.when_full == "spill") != (self.spill_folder is not None):
            raise ValueError(
                f"when_full is {self.when_full!r} and spill_folder is {self.spill_folder}; "
                "'spill' needs a folder, and nothing else does"
            )
        checks.number(self, "reward_deadline_s", 0.0, 1e7)
        checks.number(self, "default_reward", -1e9, 1e9)
        checks.choice(self, "evaluator", EVALUATORS)
        checks.whole(self, "seed", 0, inf, none=True)
