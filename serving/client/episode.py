"""The episodes of one agent, as the program lives through them, one after the other."""

from typing import Any

import numpy as np

from marlserve.serving.client.decision import Decision
from marlserve.serving.client.team import Team


class Episode:
    """See the module; of one thread.

    Args:
        agent: its name.
        team: of it alone.
    """

    def __init__(self, agent: str, team: Team):
        self._agent, self._team = agent, team

    def act(self, observation: Any, mask: np.ndarray | None = None) -> Decision:
        """What to do, given what is seen now; see `Team.act`.

        Args:
            observation: [*O], or {"observation": [*O], "action_mask": mask}.
            mask: which actions are legal, if the contract has masks; None: all.

        Raises:
            ValueError: for an observation of another shape, or not finite, and a mask that is not
                asked for, or allows nothing.
        """
        masks = None if mask is None else {self._agent: mask}
        return self._team.act({self._agent: observation}, masks)[self._agent]

    def end(
        self,
        terminated: bool = False,
        truncated: bool = False,
        observation: Any = None,
        mask: np.ndarray | None = None,
    ) -> None:
        """The episode is over.

        Args:
            terminated: nothing comes after the last action.
            truncated: it is only cut off here; `observation` is what is seen now, and `mask` which
                actions would be legal. Without it the last step is left out, since nobody knows
                what it led to.
            observation: not needed if terminated.

        Raises:
            ValueError: unless it is either terminated or truncated.
        """
        seen = None if observation is None else {self._agent: observation}
        self._team.end(terminated, truncated, seen, None if mask is None else {self._agent: mask})
