"""Steps of one agent as RLlib's episodes; `chunks` says how they hang together."""

import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from marlserve.serving.trainer.runners.chunks import Chunks, outputs_of
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import TERMINATED, TRUNCATED, Steps


class Episodes(Chunks):
    """See the module.

    Args:
        contract: of one seat.
    """

    def __init__(self, contract: Contract):
        super().__init__()
        (seat,) = contract.seats.values()
        self._spaces = seat.observation_space, seat.action_space

    def episode(self, steps: Steps) -> SingleAgentEpisode:
        """A chunk of an episode."""
        part = steps.only
        observation_space, action_space = self._spaces
        return SingleAgentEpisode(
            id_=self.id_of(steps),
            observations=list(part.observations),
            actions=list(part.actions),
            rewards=list(part.rewards.astype(np.float32, copy=False)),
            terminated=steps.ending == TERMINATED,
            truncated=steps.ending == TRUNCATED,
            extra_model_outputs={WEIGHTS_SEQ_NO: list(steps.versions), **outputs_of(part)},
            t_started=steps.first_step,
            len_lookback_buffer=0,  # else RLlib takes the steps for ones that were learned from
            observation_space=observation_space,
            action_space=action_space,
        ).to_numpy()
