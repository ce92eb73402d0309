"""Reservoirs of one or several metrics, one value at a time: `envs.sims.reservoir` for a stream.

    reservoir = SingleMetricReservoir(size=100)
    for value in stream:
        reservoir.update(value)
    sample = reservoir.get_sample()              # up to 100 values

    flows = MultiMetricReservoir(("fct", "flow_duration"))
    flows.update({"fct": 0.02, "flow_duration": 0.03}, time_s=12.5)
    flows.statistics(now_s=13.0)["fct"]["p90"]

By default a sample is uniform over the whole stream (algorithm R); rule="overwrite" forgets.
"""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from marlserve.envs.sims.cluster_arrays import LOG
from marlserve.envs.sims.reservoir import FEATURES, Reservoirs

_ONE = np.ones(1, np.int64)


class MultiMetricReservoir:
    """A reservoir for each metric, whose values come together.

    Args:
        metrics: their names.
        size: samples that each holds.
        rule: one of `sims.reservoir.RULES`.
        seed: decides which samples are kept.

    Raises:
        ValueError: for no metric, or two of one name, and as of `Reservoirs`.
    """

    def __init__(
        self,
        metrics: Sequence[str] = ("fct", "flow_duration"),
        size: int = 128,
        rule: str = "algorithm_r",
        seed: int = 0,
    ):
        if not metrics or len(set(metrics)) < len(metrics):
            raise ValueError(f"metrics are {list(metrics)}; allowed are some different names")
        self._places = {name: place for place, name in enumerate(metrics)}
        self._reservoirs = Reservoirs(1, len(self._places), size, rule)
        self._reservoirs.reset(0, seed)
        self._log = np.zeros((1, 1), LOG)

    def update(self, values: Mapping[str, float], time_s: float = 0.0) -> None:
        """One value more of some metrics, or of all.

        Args:
            time_s: when, not before the last one; what has no time stays as new as it is.

        Raises:
            ValueError: for an unknown metric, and what is not finite.
        """
        for name, value in values.items():
            if name not in self._places:
                raise ValueError(f"metric is {name!r}; allowed is one of {list(self._places)}")
            if not (isfinite(value) and isfinite(time_s)):
                raise ValueError(f"{name} is {value} at {time_s} s; allowed are finite numbers")
        record = self._log[0, 0]
        record["time_s"] = time_s
        for name, value in values.items():
            record["pair"], record["value_s"] = self._places[name], value
            self._reservoirs.add(_ONE, self._log)

    def get_sample(self, metric: str) -> np.ndarray:
        """Its values that were kept, float32."""
        return self._reservoirs.samples(0, self._places[metric])

    def statistics(self, now_s: float = 0.0) -> dict[str, dict[str, float]]:
        """{metric: {statistic: value}} at a time, by the names of `sims.reservoir.FEATURES`."""
        (found,) = self._reservoirs.features(np.array([now_s]))
        return {
            name: dict(zip(FEATURES, found[place].tolist(), strict=True))
            for name, place in self._places.items()
        }


class SingleMetricReservoir:
    """A reservoir; arguments and errors as of `MultiMetricReservoir`."""

    def __init__(self, size: int = 128, rule: str = "algorithm_r", seed: int = 0):
        self._one = MultiMetricReservoir(("value",), size, rule, seed)

    def update(self, value: float, time_s: float = 0.0) -> None:
        """One value more."""
        self._one.update({"value": value}, time_s)

    def get_sample(self) -> np.ndarray:
        """The values that were kept, float32."""
        return self._one.get_sample("value")

    def statistics(self, now_s: float = 0.0) -> dict[str, float]:
        """{statistic: value} at a time."""
        return self._one.statistics(now_s)["value"]
