"""The routing rules whose numbers are searched, and what for.

Aims are the mean time to the last token ("e2e"), to the first ("ttft"), and the two weighted as the
reward weighs them ("cost"); under the reward "source" it is that alone. Where gateways are not told
the replicas' speeds, the rules that have them are searched with estimated ones, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pandas as pd

from marlserve.envs.replica_routing import Config, rules
from marlserve.envs.replica_routing.baselines import adaptive, learning, ruled
from marlserve.envs.replica_routing.predictor import LatencyPredictor
from marlserve.experiments.studies import tune
from marlserve.experiments.studies.tune import Aim, Rule

# Of each rule its numbers, with the least and the most.
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "least_requests": {"speed_power": (0.0, 2.0)},
    "prefix_affinity": {"least_share": (0.0, 1.0), "imbalance": (0.5, 32.0)},
    "cache_aware": {"share": (0.0, 1.0), "absolute": (1.0, 64.0), "relative": (1.05, 4.0)},
    "scorers": {"prefix": (0.1, 10.0), "queue": (0.1, 10.0), "cache": (0.1, 10.0)},
    "size_split": {"long_tokens": (1_000.0, 100_000.0)},
    "kv_cost": {"prefill_weight": (0.1, 30.0), "speed_power": (0.5, 3.0)},
    "marginal_cost": {
        "companions": (0.1, 10.0),
        "output_tokens": (50.0, 2_000.0),
        "speed_power": (0.5, 3.0),
    },
    "latency_predictor": {
        "output_tokens": (50.0, 2_000.0),
        "ridge": (0.1, 300.0),
        "memory": (20.0, 2_000.0),
    },
}
ADAPTIVE = ("kv_cost", "marginal_cost")  # searched also with speeds that they estimate


def rule(name: str) -> Rule:
    """The rule of `envs.replica_routing.rules`, or "adaptive_" and its name, or what learns."""
    if name == "latency_predictor":
        return Rule(LatencyPredictor, RANGES[name], learning)
    plain = name.removeprefix("adaptive_")

    def played(formula):
        return partial(ruled, adaptive(formula) if name != plain else formula)

    return Rule(getattr(rules, plain), RANGES[plain], played)


def _mean_s(rows: pd.DataFrame, name: str, config: Config) -> float:
    """The mean over requests, of which a failed one counts as `failure_s`, over episodes."""
    total_s = rows[f"mean_{name}_s"] * rows["completed"] + config.failure_s * rows["failed"]
    return float((total_s / (rows["completed"] + rows["failed"]).clip(lower=1.0)).mean())


@dataclass(frozen=True)
class Tune(tune.Tune):
    __doc__ = tune.Tune.__doc__

    AIMS: ClassVar = {
        "e2e": lambda rows, config: _mean_s(rows, "e2e", config),
        "ttft": lambda rows, config: _mean_s(rows, "ttft", config),
        "cost": lambda rows, config: (
            config.e2e_weight * _mean_s(rows, "e2e", config)
            + config.ttft_weight * _mean_s(rows, "ttft", config)
        ),
    }

    def aims(self, config: Config) -> Mapping[str, Aim]:
        if config.reward == "source":
            return {"reward": lambda rows, config: -float(rows["mean_source_reward"].mean())}
        return self.AIMS

    def rules(self, config: Config) -> Mapping[str, Rule]:
        names = [*RANGES, *(f"adaptive_{name}" for name in ADAPTIVE if not config.told_speeds)]
        return {name: rule(name) for name in names}
