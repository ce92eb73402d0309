"""What a side of a benchmark does, and how often it updates weights meanwhile."""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from torch.optim.optimizer import register_optimizer_step_post_hook


class Work(NamedTuple):
    """What one call of a side did."""

    units: int  # of what its part counts
    cpu_s: float
    updates: int = 0  # of weights by gradients


# It is made by a function of its own, which prepares what does not count.
Side = Callable[[], Work]


_steps: Counter[int] = Counter()  # {optimizer: its steps}
register_optimizer_step_post_hook(lambda optimizer, *_: _steps.update([id(optimizer)]))


def timed(play: Callable[[], int]) -> Side:
    """A side of a function that gives the units that it has done.

    Its updates are the most steps that one optimizer of PyTorch takes meanwhile, in this process:
    an algorithm with several of them steps each one in an update, or some more rarely.
    """

    def side() -> Work:
        _steps.clear()
        start_s = time.process_time()
        units = play()
        return Work(units, time.process_time() - start_s, max(_steps.values(), default=0))

    return side
