"""The rules of the KV cache whose numbers are searched, for profit or for profit under the floor.

Aimed at is the profit on training windows; under a service_floor, the profit of those trials that
serve as many of all requests as it asks for, and the smallest lack if there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from marlserve.envs.kv_cache import BASELINES, Config
from marlserve.envs.kv_cache.baselines import (
    decides,
    load_aware,
    load_aware_deny,
    rate_aware_deny,
    tuned_price_deny,
)
from marlserve.experiments.studies import tune
from marlserve.experiments.studies.tune import Aim, Rule

_BUSY = (0.5, 1.0)  # share of the servers
_WAITING_PER_SERVER = (0.03, 3.0)
_LOAD = (0.7, 1.5)  # arrivals over what the servers can carry at the full cache
RULES = {
    "load_aware": Rule(load_aware, {"busy": _BUSY}, decides, BASELINES["load_aware"].configure),
    "load_aware_deny": Rule(
        load_aware_deny,
        {"busy": _BUSY, "waiting_per_server": _WAITING_PER_SERVER},
        decides,
        BASELINES["load_aware_deny"].configure,
    ),
    "rate_aware_deny": Rule(
        rate_aware_deny,
        {"load": _LOAD, "waiting_per_server": _WAITING_PER_SERVER},
        decides,
        BASELINES["rate_aware_deny"].configure,
    ),
    "tuned_price_deny": Rule(
        tuned_price_deny,
        {"waiting_per_server": _WAITING_PER_SERVER},
        decides,
        BASELINES["tuned_price_deny"].configure,
    ),
}
_UNMET = 1e9  # more than any loss, $ a day


def loss_usd_per_day(rows: pd.DataFrame, config: Config) -> float:
    """The negative profit of a trial."""
    return -float(rows["profit_usd_per_day"].mean())


def loss_under_floor(rows: pd.DataFrame, config: Config) -> float:
    """The same, if the floor held; else more than any, by what lacked."""
    lack = float(rows["unserved_beyond_floor"].mean())
    return loss_usd_per_day(rows, config) if lack <= 0.0 else _UNMET + lack


@dataclass(frozen=True)
class Tune(tune.Tune):
    __doc__ = tune.Tune.__doc__

    trials: int = 32  # for each rule, its defaults among them
    training_episodes: int = 32  # for each trial
    episodes: int = 60  # to play with the best

    def aims(self, config: Config) -> Mapping[str, Aim]:
        profit = {"profit": loss_usd_per_day}
        return profit | ({"the floor": loss_under_floor} if config.service_floor else {})

    def rules(self, config: Config) -> Mapping[str, Rule]:
        return RULES
