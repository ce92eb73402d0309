"""The rules of load balancing whose numbers are searched, for the mean latency."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from marlserve.envs.load_balance import Config
from marlserve.envs.load_balance.baselines import (
    BASELINES,
    adapting,
    ejecting,
    powered,
    remembering,
)
from marlserve.experiments.studies import tune
from marlserve.experiments.studies.tune import Rule

_AS = {name: BASELINES[name].configure for name in ("sed", "wcmp", "power_of_two")}
RULES = {
    "sed": Rule(powered, {"power": (0.4, 2.5)}, configure=_AS["sed"]),
    "wcmp": Rule(powered, {"power": (0.4, 8.0)}, configure=_AS["wcmp"]),
    "power_of_two": Rule(powered, {"power": (0.4, 2.5)}, configure=_AS["power_of_two"]),
    "adaptive_sed": Rule(
        adapting, {"power": (0.25, 4.0), "floor_s": (0.01, 1.0)}, configure=_AS["sed"]
    ),
    "remembering_sed": Rule(
        remembering,
        {"power": (0.4, 4.0), "floor_s": (0.001, 0.1), "memory": (0.0, 1.0)},
        configure=_AS["sed"],
    ),
    "ejecting_sed": Rule(ejecting, {"factor": (1.2, 10.0)}, configure=_AS["sed"]),
}


@dataclass(frozen=True)
class Tune(tune.Tune):
    __doc__ = tune.Tune.__doc__

    AIMS: ClassVar = {"latency": lambda rows, config: float(rows["mean_latency_s"].mean())}

    episodes: int = 100  # to play with the best

    def rules(self, config: Config) -> Mapping[str, Rule]:
        return RULES
