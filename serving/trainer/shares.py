"""How many steps a client may have in the making and on their way: its share of the queue.

Simulators are faster than a learner. If each client began as many fragments as it can hold, those
of many would be too old by the time that there is room for them. So whoever can wait begins one
only if its share has room for it, and plays it by the newest policy. All shares together are as
much as the queue holds. On policy that is half a batch: a step is then behind less than a batch of
others, and is learned from after one more update at the latest. A replay takes steps of any age,
but learns the sooner, the newer they are.

Who has sent nothing for a minute has no share, which is how that of a program that ended, or stands
still in the midst of a fragment, comes back to the others.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from marlserve.serving.wire.contract import Contract

KEPT_S = 60.0  # a push that waits for room is made anew after half of that


class Shares:
    """See the module.

    Args:
        clock: in seconds.
    """

    def __init__(self, contract: Contract, clock: Callable[[], float] = time.monotonic):
        self._capacity_steps, self._clock = contract.capacity_steps, clock
        self._sent_s: OrderedDict[Hashable, float] = OrderedDict()  # the oldest ones first

    def note(self, session: Hashable) -> None:
        """It sends, or is about to."""
        self._sent_s[session] = self._clock()
        self._sent_s.move_to_end(session)
        while len(self._sent_s) > self._capacity_steps:  # more shares than steps
            self._sent_s.popitem(last=False)

    @property
    def steps(self) -> int:
        """The share of each session now."""
        oldest_s = self._clock() - KEPT_S
        while self._sent_s and next(iter(self._sent_s.values())) < oldest_s:
            self._sent_s.popitem(last=False)
        return max(self._capacity_steps // max(len(self._sent_s), 1), 1)
