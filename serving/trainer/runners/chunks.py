"""Fragments as chunks of RLlib's episodes, exactly as many steps as are asked for.

Chunks that follow each other have one id, so that a replay puts them together; where one is
missing, since it was dropped or went to another runner, or does not fit, what comes after it is an
episode by itself.
"""

from collections import OrderedDict
from itertools import count

import numpy as np
from ray.rllib.core.columns import Columns

from marlserve.serving.wire.steps import Part, Steps

_MOST_OPEN = 100_000  # episodes; who was silent longest is forgotten


class Chunks:
    """See the module; subclasses make episodes of one agent, or of several."""

    def __init__(self) -> None:
        self._left: Steps | None = None  # of a fragment that was cut
        # The id, the next step, and what each agent sees before it; None: it has left.
        self._open: OrderedDict[tuple, tuple[str, int, list[np.ndarray | None]]] = OrderedDict()
        self._count = count()

    def cut(self, fragments: list[Steps], steps: int) -> list[Steps]:
        """The first steps of what was left before, and of these fragments; the others are kept."""
        waiting = [*([self._left] if self._left is not None else []), *fragments]
        self._left, wanted, missing = None, [], steps
        for index, each in enumerate(waiting):
            if len(each) > missing:
                if missing:
                    first, each = each.cut(missing)
                    wanted.append(first)
                rest = [each, *waiting[index + 1 :]]
                if len(rest) > 1:
                    raise ValueError(f"{sum(map(len, waiting))} steps are more than was asked for")
                self._left = each
                break
            wanted.append(each)
            missing -= len(each)
        return wanted

    @property
    def left_steps(self) -> int:
        """How many are kept from before."""
        return 0 if self._left is None else len(self._left)

    def forget(self) -> int:
        """Drop what is kept; how many steps it is."""
        lost, self._left = self.left_steps, None
        return lost

    @property
    def left_version(self) -> int:
        """Of what is kept."""
        return 0 if self._left is None else int(self._left.versions[0])

    def id_of(self, steps: Steps) -> str:
        """The id of the episode that these steps belong to."""
        key = steps.session, steps.agent, steps.episode
        name, follows, seen = self._open.pop(key, ("", -1, []))
        # RLlib stops where chunks do not fit: what a client says of its steps is not relied on.
        if follows != steps.first_step or not all(map(_fits, seen, steps.parts)):
            name = "-".join(map(str, [*key, steps.first_step, next(self._count)]))
        if not steps.is_over:
            last = [
                part.observations[-1] if len(part) == len(steps) else None for part in steps.parts
            ]
            self._open[key] = name, steps.first_step + len(steps), last
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return name


def outputs_of(part: Part) -> dict[str, list]:
    """What learners want to know of the policy beside, by RLlib's names."""
    extra = {Columns.ACTION_LOGP: part.log_probabilities, Columns.ACTION_DIST_INPUTS: part.outputs}
    return {name: list(values) for name, values in extra.items() if values is not None}


def _fits(seen: np.ndarray | None, part: Part) -> bool:
    """Whether an agent goes on where it was, or has left."""
    return not len(part) or (seen is not None and np.array_equal(seen, part.observations[0]))
