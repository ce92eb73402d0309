"""Steps as RLlib's episodes, exactly as many as are asked for.

A fragment is a chunk of an episode. Chunks that follow each other have one id, so that a replay
puts them together; where one is missing, since it was dropped or went to another runner, or does
not fit, what comes after it is an episode by itself.
"""

from collections import OrderedDict
from itertools import count

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import TERMINATED, TRUNCATED, Steps

_MOST_OPEN = 100_000  # episodes; who was silent longest is forgotten


class Episodes:
    """See the module.

    Args:
        contract: of one seat.
    """

    def __init__(self, contract: Contract):
        (seat,) = contract.seats.values()
        self._spaces = seat.observation_space, seat.action_space
        self._left: Steps | None = None  # of a fragment that was cut
        # The id, the next step, and what is seen before it.
        self._open: OrderedDict[tuple, tuple[str, int, np.ndarray]] = OrderedDict()
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

    def episode(self, steps: Steps) -> SingleAgentEpisode:
        """A chunk of an episode."""
        part, extra = steps.only, {WEIGHTS_SEQ_NO: list(steps.versions)}
        if part.log_probabilities is not None:
            extra[Columns.ACTION_LOGP] = list(part.log_probabilities)
        if part.outputs is not None:
            extra[Columns.ACTION_DIST_INPUTS] = list(part.outputs)
        observation_space, action_space = self._spaces
        return SingleAgentEpisode(
            id_=self._id(steps),
            observations=list(part.observations),
            actions=list(part.actions),
            rewards=list(part.rewards.astype(np.float32, copy=False)),
            terminated=steps.ending == TERMINATED,
            truncated=steps.ending == TRUNCATED,
            extra_model_outputs=extra,
            t_started=steps.first_step,
            len_lookback_buffer=0,  # else RLlib takes the steps for ones that were learned from
            observation_space=observation_space,
            action_space=action_space,
        ).to_numpy()

    def _id(self, steps: Steps) -> str:
        key = steps.session, steps.agent, steps.episode
        name, follows, seen = self._open.pop(key, ("", -1, np.zeros(0)))
        # RLlib stops where chunks do not fit: what a client says of its steps is not relied on.
        observations = steps.only.observations
        if follows != steps.first_step or not np.array_equal(seen, observations[0]):
            name = "-".join(map(str, [*key, steps.first_step, next(self._count)]))
        if not steps.is_over:
            self._open[key] = name, steps.first_step + len(steps), observations[-1]
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return name
