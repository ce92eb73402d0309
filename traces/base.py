"""A trace: named columns of equal length in order of time.

    trace = traces.load("poisson", rng, rate_per_s=700.0, duration_s=60.0)
    trace["work_s"]                       # a column
    for step in range(240):               # arrivals, step by step
        arrivals = trace.between(0.25 * step, 0.25 * (step + 1))
    prices.at(3600.0)["usd_per_mwh"]      # a signal: the newest row, never one of the future

A trace covers the time from `start_s` up to, not including, `end_s`, which says more than its rows
do: that nothing arrived before the first or after the last. Load-balancing traces have `time_s`
(arrival), `work_s` (service time on one core of speed 1) and some `kind` (int8, as their module
says).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Columns [n], read-only, with a sorted float64 `time_s` among them.

    Args:
        columns: the arrays by name. They are not copied, so the giver must not write to them.
        end_s: where the covered time ends.
        start_s: where it starts.

    Raises:
        ValueError: for columns of different length, a missing, unsorted or not covered `time_s`,
            NaN or infinity in any column, and negative `work_s`; it names column, row and value.
    """

    columns: Mapping[str, np.ndarray]
    end_s: float
    start_s: float = 0.0

    def __post_init__(self):
        if not (np.isfinite([self.start_s, self.end_s]).all() and self.start_s <= self.end_s):
            raise ValueError(
                f"the trace covers [{self.start_s}, {self.end_s}); expected finite times in order"
            )
        if "time_s" not in self.columns:
            raise ValueError(f"columns are {list(self.columns)}; time_s must be one of them")
        columns = {}
        for name, values in self.columns.items():
            column = np.asarray(values, np.float64 if name == "time_s" else None).view()
            column.flags.writeable = False
            columns[name] = column
        object.__setattr__(self, "columns", MappingProxyType(columns))
        self._check()

    def _check(self) -> None:
        time_s = self.time_s
        for name, column in self.columns.items():
            if column.ndim != 1 or len(column) != len(time_s):
                raise ValueError(
                    f"column {name} has shape {column.shape}; expected that of time_s, "
                    f"[{time_s.size}]"
                )
            if np.issubdtype(column.dtype, np.floating):
                _expect(name, column, np.isfinite(column), "a finite number")
        if "work_s" in self.columns:
            _expect("work_s", self["work_s"], self["work_s"] >= 0.0, "no negative work")
        covered = (time_s >= self.start_s) & (time_s < self.end_s)
        _expect("time_s", time_s, covered, f"a time in [{self.start_s}, {self.end_s})")
        ordered = np.append(True, time_s[1:] >= time_s[:-1])[: len(time_s)]
        _expect("time_s", time_s, ordered, "none earlier than the row before")

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.columns["time_s"])

    def __getitem__(self, name: str) -> np.ndarray:
        """The column of this name, [n]; KeyError names those that exist."""
        if name not in self.columns:
            raise KeyError(f"there is no column {name!r}; there are {list(self.columns)}")
        return self.columns[name]

    def __repr__(self) -> str:
        return f"Trace({len(self)} rows of {list(self.columns)}, [{self.start_s}, {self.end_s}) s)"

    def __reduce__(self):
        # Read-only flags do not survive pickling; the constructor sets them again.
        return Trace, (dict(self.columns), self.end_s, self.start_s)

    @property
    def time_s(self) -> np.ndarray:
        """When each row happened, [n], sorted."""
        return self.columns["time_s"]

    @property
    def duration_s(self) -> float:
        """How much time the trace covers."""
        return self.end_s - self.start_s

    @property
    def rate_per_s(self) -> float:
        """Mean number of rows in a second; 0 if the trace covers no time."""
        return len(self) / self.duration_s if self.duration_s > 0.0 else 0.0

    @property
    def offered_load(self) -> float:
        """Seconds of work that arrive in a second: the busy cores of speed 1, in the mean."""
        return float(self["work_s"].sum()) / self.duration_s if self.duration_s > 0.0 else 0.0

    def between(self, start_s: float, end_s: float) -> "Trace":
        """The rows with start_s <= time_s < end_s, on the same clock, in O(log n) without copies.

        Raises:
            ValueError: if [start_s, end_s) is not within the covered time.
        """
        if not self.start_s <= start_s <= end_s <= self.end_s:
            raise ValueError(
                f"[{start_s}, {end_s}) is not within the trace, [{self.start_s}, {self.end_s})"
            )
        first, last = np.searchsorted(self.time_s, (start_s, end_s))
        columns = {name: column[first:last] for name, column in self.columns.items()}
        return _trusted(columns, float(end_s), float(start_s))

    def at(self, time_s: float) -> dict:
        """The newest row that is not in the future of `time_s`, in O(log n), by column name.

        Raises:
            ValueError: if the trace does not cover `time_s` or has no row yet.
        """
        row = int(np.searchsorted(self.time_s, time_s, side="right")) - 1
        if not self.start_s <= time_s < self.end_s or row < 0:
            first = f"with the first row at {self.time_s[0]}" if len(self) else "with no rows"
            raise ValueError(
                f"no row at {time_s} s: the trace covers [{self.start_s}, {self.end_s}), {first}"
            )
        return {name: column[row] for name, column in self.columns.items()}

    def window(self, start_s: float, duration_s: float) -> "Trace":
        """The rows in [start_s, start_s + duration_s), on a clock that starts at 0.

        Raises:
            ValueError: if that is not within the covered time.
        """
        return self._rebased(start_s, start_s + duration_s, duration_s)

    def random_window(self, rng: np.random.Generator, duration_s: float) -> "Trace":
        """A window of this length at a uniformly random place.

        Raises:
            ValueError: if the trace is shorter.
        """
        if not 0.0 <= duration_s <= self.duration_s:
            raise ValueError(f"duration_s is {duration_s}; the trace covers {self.duration_s} s")
        start_s = rng.uniform(self.start_s, self.end_s - duration_s)
        return self._rebased(start_s, min(start_s + duration_s, self.end_s), duration_s)

    def at_rate(self, rate_per_s: float) -> "Trace":
        """The same rows, slower or faster, so that this many come in a second, in the mean.

        Raises:
            ValueError: if the rate is not positive, or the trace is empty.
        """
        if not 0.0 < rate_per_s < np.inf:
            raise ValueError(f"rate_per_s is {rate_per_s}; expected a positive number")
        if not len(self):
            raise ValueError("an empty trace has no rate to change")
        factor = self.rate_per_s / rate_per_s
        start_s, end_s = self.start_s * factor, self.end_s * factor
        columns = {**self.columns, "time_s": earlier_than(end_s, self.time_s * factor)}
        return Trace(columns, end_s, start_s)

    def scaled(self, name: str, factor: float) -> "Trace":
        """The same rows with column `name` multiplied by `factor`, such as work_s by 1.5.

        Raises:
            ValueError: for time_s, which `at_rate` scales, and a factor that spoils the column.
        """
        if name == "time_s":
            raise ValueError("column time_s cannot be scaled alone; at_rate scales it")
        return Trace({**self.columns, name: self[name] * factor}, self.end_s, self.start_s)

    def _rebased(self, start_s: float, end_s: float, duration_s: float) -> "Trace":
        cut = self.between(start_s, end_s)
        time_s = earlier_than(duration_s, cut.time_s - start_s)
        time_s.flags.writeable = False
        return _trusted({**cut.columns, "time_s": time_s}, float(duration_s), 0.0)


def earlier_than(end_s: float, time_s: np.ndarray) -> np.ndarray:
    """Times that are earlier than `end_s` up to rounding, made strictly so, in place."""
    return np.minimum(time_s, np.nextafter(end_s, -np.inf), out=time_s)


def _trusted(columns: dict[str, np.ndarray], end_s: float, start_s: float) -> Trace:
    """A trace of columns that are known to be good: checking them would cost O(n)."""
    trace = object.__new__(Trace)
    trace.__dict__.update(columns=MappingProxyType(columns), end_s=end_s, start_s=start_s)
    return trace


def _expect(name: str, column: np.ndarray, good: np.ndarray, expected: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"column {name}, row {row}: {column[row]}; expected {expected}")
