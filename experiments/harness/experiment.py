"""An experiment is a problem, an algorithm, a budget and a seed. Its folder follows from it.

`training.train` carries it out; `run` says what the folder holds. With `evaluate_every`, the best
policy on the way is kept too: see `validation`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlserve import envs, policies

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

RUNS = Path("runs")
DATA = "MARLSERVE_DATA"  # the environment variable that names the folder of recorded files
_LONGEST = 160  # of a label; file systems take names of 255 bytes


@dataclass(frozen=True)
class Experiment:
    """All that a training depends on.

    Raises:
        ValueError: on construction, for an unknown problem, a bad field of its Config, and a
            value that cannot name a folder or be written as JSON.
    """

    problem: str
    algorithm: str  # a module of marlserve.policies
    env_config: dict[str, Any] = field(default_factory=dict)  # fields of the problem's Config
    settings: dict[str, Any] = field(default_factory=dict)  # of the algorithm's training()
    env_runners: dict[str, Any] = field(default_factory=dict)  # of AlgorithmConfig.env_runners()
    env_steps: int = 300_000  # to train for, over all copies
    evaluate_every: int = 0  # env-steps between two evaluations while training; 0: none
    evaluation_episodes: int = 8
    evaluation_config: dict[str, Any] = field(default_factory=dict)  # changes for those episodes
    seed: int = 0
    preset: str = "default"  # what the env_config is called in the folder
    name: str = ""  # what the algorithm is called there; its own name by default
    based_on: str = ""  # the preset that the env_config started from; `preset` by default
    candidate: str = ""  # what a study calls it, without changes; `name` by default

    def __post_init__(self):
        for key, standard in (
            ("name", self.algorithm),
            ("based_on", self.preset),
            ("candidate", self.name or self.algorithm),
        ):
            if not getattr(self, key):
                object.__setattr__(self, key, standard)
        for key in ("env_config", "settings", "env_runners", "evaluation_config"):
            try:  # as JSON gives them back
                value = json.loads(json.dumps(getattr(self, key)))
            except TypeError as error:
                raise ValueError(f"{key} is {getattr(self, key)!r}: {error}") from error
            object.__setattr__(self, key, value)
        for key in ("preset", "name"):
            value = getattr(self, key)
            if not re.fullmatch(r"[\w=][\w.,=+-]*", value):
                raise ValueError(f"{key} is {value!r}; it must be fit to name a folder")
        least = {"env_steps": 1, "evaluate_every": 0, "evaluation_episodes": 1, "seed": 0}
        for key, low in least.items():
            if getattr(self, key) < low:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least {low}")
        for key in ("env_config", "evaluation_config"):
            if getattr(self, key).get("split") == "test":
                raise ValueError(f"{key} has split='test', which is held out of training")
        self.problem_config()
        self.problem_config(evaluation=True)

    @property
    def folder(self) -> Path:
        """Relative to where all runs are."""
        return Path(self.problem, self.preset, self.name, f"seed_{self.seed}")

    @property
    def digest(self) -> str:
        """Of what is trained, whatever the seed: 8 hexadecimal digits."""
        return _digest({k: v for k, v in asdict(self).items() if k != "seed"})

    def problem_config(self, evaluation: bool = False) -> Any:
        """The problem's Config, that of the training or of its evaluations.

        Raises:
            ValueError: for an unknown field or a bad value.
        """
        config = envs.module(self.problem).Config
        values = self.env_config | (self.evaluation_config if evaluation else {})
        known = [x.name for x in fields(config)]
        if unknown := set(values) - set(known):
            raise ValueError(f"{self.problem} has no field {sorted(unknown)}; it has {known}")
        return config(**values)

    def config(self) -> "AlgorithmConfig":
        """RLlib's configuration of it.

        Raises:
            ValueError: for an unknown algorithm or setting.
        """
        try:
            config = policies.config(
                self.algorithm, self.problem, self.env_config, **self.settings
            ).env_runners(**self.env_runners)
        except TypeError as error:  # an unknown keyword
            raise ValueError(f"settings of {self.algorithm}: {error}") from error
        return config.debugging(seed=self.seed)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def label(name: str, changes: Mapping[str, Any]) -> str:
    """A folder's name for something that was changed: "moderate,load=0.5-0.6".

    What does not show in full has a digest of it behind it: of a path only the last part shows, and
    of very much only the beginning. So what differs has different names.
    """
    parts = [name]
    for key, value in changes.items():
        values = value if isinstance(value, list | tuple) else (value,)
        shown = re.sub(r"[^\w.,=+-]", "_", "-".join(Path(str(v)).name for v in values))
        if shown != "-".join(map(str, values)):
            shown += f"-{_digest(value)}"
        parts.append(f"{key}={shown}")
    whole = ",".join(parts)
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}-{_digest(whole)}"


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
