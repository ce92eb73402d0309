"""A data plane in C, by shared memory: see `marlserve.serving.shared_memory`.

It has reservoirs of its own and tells their statistics, so that there is nothing of single flows to
compare, and no guard. A region that is gone, or whose owner is, is looked for anew with each look.
"""

import numpy as np

from marlserve.serving.controller.data_plane import Summary, Unreachable
from marlserve.serving.shared_memory import layout
from marlserve.serving.shared_memory.shared_memory import MsgOut, SharedMemoryRegion


class SharedMemory:
    """One region.

    Args:
        patience_s: so long a data plane may be silent.
    """

    def __init__(self, name: str, num_servers: int, patience_s: float = 2.0):
        self._name, self._num_servers, self._patience_s = name, num_servers, patience_s
        self._region: SharedMemoryRegion | None = None
        self._last: MsgOut | None = None
        self._missed = 0

    @property
    def lost(self) -> dict[str, int]:
        """Messages that others took the place of before they were read, and copies thrown away."""
        torn = 0 if self._region is None else self._region.torn
        return {"missed": self._missed, "torn": torn}

    def look(self) -> Summary:
        """See `DataPlane`; a look without a new message sees what the last one said."""
        region = self._attached()
        region.heartbeat(layout.CONTROLLER)
        silent_s = region.heartbeat_age_s(layout.PLANE)
        if silent_s > self._patience_s:
            raise Unreachable(f"the data plane of {self._name} is silent for {silent_s:.1f} s")
        try:
            new, last = region.read_msg_out(), self._last
        except TimeoutError as error:
            raise Unreachable(f"{self._name}: {error}") from error
        said = new or last
        if said is None:
            raise Unreachable(f"the data plane of {self._name} has said nothing yet")
        completed = np.zeros(self._num_servers, np.int64)
        if new is not None:
            before = 0 if last is None else last.completed
            completed = (new.completed - before).astype(np.int64)
            self._missed += 0 if last is None else new.number - last.number - 1
        self._last = said
        halves = said.statistics_s.reshape(self._num_servers, 2, -1)
        return Summary(said.ongoing.astype(np.int64), completed, halves.transpose(1, 0, 2))

    def apply(self, weights: np.ndarray) -> None:
        """See `DataPlane`."""
        self._attached().write_msg_in(weights)

    def close(self) -> None:
        """Detach."""
        if self._region is not None:
            self._region.close()
            self._region = None

    def _attached(self) -> SharedMemoryRegion:
        """The region, or another one of that name if its owner is gone."""
        if self._region is not None and self._region.owner_is_alive:
            return self._region
        self.close()
        try:
            found = SharedMemoryRegion.attach(self._name)
        except (OSError, ValueError) as error:
            raise Unreachable(f"there is no region {self._name}: {error}") from error
        if found.num_servers != self._num_servers or not found.owner_is_alive:
            problem = f"{found.num_servers} servers; expected are {self._num_servers}"
            if not found.owner_is_alive:
                problem = "no owner that lives"
            found.close()
            raise Unreachable(f"the region {self._name} has {problem}")
        self._region, self._last = found, None
        return found
