"""The jobs of a cluster, as a trace: `JobLog`, which "swf" reads and "lublin" draws.

Columns: time_s (when a job was submitted), run_s (how long it runs, if nobody stops it),
requested_s (how long its user said that it might), processors (which it needs all at once) and
user (a number, -1 where that is not known).
"""

from dataclasses import dataclass

import numpy as np

from marlserve.traces.base import Trace

COLUMNS = ("time_s", "run_s", "requested_s", "processors", "user")


@dataclass(frozen=True, eq=False, repr=False)
class JobLog(Trace):
    """A trace [n] of COLUMNS, and the size of the cluster.

    Args:
        columns: by name.
        end_s: where the covered time ends.
        start_s: where it starts.
        num_processors: of the cluster.

    Raises:
        ValueError: as `Trace`; for a missing column, for times that are not positive, users and
            processors that are not whole, and a job that needs more processors than there are; it
            names column, row and value.
    """

    num_processors: int = 1

    def _check(self) -> None:
        if missing := [name for name in COLUMNS if name not in self.columns]:
            raise ValueError(f"columns are {list(self.columns)}; expected {missing[0]} too")
        super()._check()
        allowed = f"a whole number, 1 to {self.num_processors}, the cluster's"
        processors, user = self["processors"], self["user"]
        self._expect("run_s", self["run_s"] > 0, "more than 0 s")
        self._expect("requested_s", self["requested_s"] > 0, "more than 0 s")
        self._expect("processors", processors == np.floor(processors), allowed)
        self._expect("processors", (processors >= 1) & (processors <= self.num_processors), allowed)
        whole = (user >= -1) & (user == np.floor(user))
        self._expect("user", whole, "a whole number, at least -1")

    def _expect(self, name: str, good: np.ndarray, expected: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(f"column {name}, row {row}: {self[name][row]}; expected {expected}")

    def __reduce__(self):
        return JobLog, (dict(self.columns), self.end_s, self.start_s, self.num_processors)

    @property
    def offered_load(self) -> float:
        """The share of the cluster that the jobs fill, in the mean over the covered time."""
        work = float((self["run_s"] * self["processors"]).sum())
        capacity = self.num_processors * self.duration_s
        return work / capacity if capacity > 0 else 0.0
