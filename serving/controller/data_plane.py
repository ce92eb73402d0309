"""What a controller asks of a data plane, whichever it is."""

from typing import NamedTuple, Protocol

import numpy as np


class Unreachable(OSError):
    """The data plane does not answer, or refuses; it goes on with the weights that it has."""


class Flow(NamedTuple):
    """One that a balancer sent to a server.

    Attributes:
        server: its index.
        began_s: since 1970.
        duration_s: from then to its end, or to now.
    """

    server: int
    began_s: float
    duration_s: float


class Seen(NamedTuple):
    """What one balancer saw since the last look.

    Attributes:
        completed: flows that ended well, in the order of their ends.
        failed: those that ended with an error, the server's or the balancer's.
        ongoing: flows in progress now.
        now_s: when that is, since 1970.
    """

    completed: list[Flow]
    failed: list[Flow]
    ongoing: list[Flow]
    now_s: float


class Summary(NamedTuple):
    """The same of a data plane that has reservoirs of its own, [M].

    Attributes:
        ongoing: flows in progress.
        completed: flows since the last look.
        statistics_s: of completed flows, and of flows in progress: of `sims.reservoir.FEATURES`,
            [2, M, 5].
    """

    ongoing: np.ndarray
    completed: np.ndarray
    statistics_s: np.ndarray


class DataPlane(Protocol):
    """One balancer over M servers.

    Attributes:
        lost: of what it should have told, how much did not come through, by why.
    """

    @property
    def lost(self) -> dict[str, int]: ...

    def look(self) -> Seen | Summary:
        """What it saw.

        Raises:
            Unreachable: if it does not answer; what it told until now is told with the next look.
        """

    def apply(self, weights: np.ndarray) -> None:
        """Send flows by these weights, [M], from now on; 0: no new ones.

        Raises:
            Unreachable: if it does not take them.
        """

    def close(self) -> None:
        """Let go of it."""
