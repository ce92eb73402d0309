"""Steps of a team as RLlib's episodes of several agents; `chunks` says how they hang together.

All act in each step until they leave, which is the end of the episode for who leaves.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Dict
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from marlserve.serving.trainer.runners.chunks import Chunks, outputs_of
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import TERMINATED, TRUNCATED, Part, Steps


class TeamEpisodes(Chunks):
    """See the module.

    Args:
        contract: of agents that are named.
        policy_of: RLlib's mapping, `policy_mapping_fn`.
    """

    def __init__(self, contract: Contract, policy_of: Callable[[str, Any], str]):
        super().__init__()
        seats = contract.seats
        self._agents, self._policy_of = tuple(seats), policy_of
        self._seen = Dict({name: seat.observation_space for name, seat in seats.items()})
        self._played = Dict({name: seat.action_space for name, seat in seats.items()})

    def episode(self, steps: Steps) -> MultiAgentEpisode:
        """A chunk of an episode."""
        count, name = len(steps), self.id_of(steps)
        here = {agent: part for agent, part in zip(self._agents, steps.parts, strict=True) if part}
        staying = [agent for agent, part in here.items() if len(part) == count]
        ended = dict.fromkeys([*staying, "__all__"], True)
        return MultiAgentEpisode(
            id_=name,
            observations=_by_step({agent: part.observations for agent, part in here.items()}),
            actions=_by_step({agent: part.actions for agent, part in here.items()}),
            rewards=_by_step({agent: part.rewards for agent, part in here.items()}),
            extra_model_outputs=_by_step(
                {agent: _extra(part, steps.versions) for agent, part in here.items()}
            ),
            terminateds=dict(ended) if steps.ending == TERMINATED else {},
            truncateds=dict(ended) if steps.ending == TRUNCATED else {},
            env_t_started=steps.first_step,
            agent_t_started=dict.fromkeys(here, steps.first_step),
            agent_episode_ids={agent: f"{name}-{agent}" for agent in here},
            agent_to_module_mapping_fn=self._policy_of,
            len_lookback_buffer=0,  # else RLlib takes the steps for ones that were learned from
            observation_space=self._seen,
            action_space=self._played,
        ).to_numpy()


def _by_step(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """{agent: column} as a list of {agent: value}, whose columns may be shorter than others."""
    longest = max(map(len, columns.values()))
    return [
        {agent: column[step] for agent, column in columns.items() if step < len(column)}
        for step in range(longest)
    ]


def _extra(part: Part, versions: np.ndarray) -> list[dict[str, Any]]:
    """What is known of each step beside, [t]."""
    columns = {WEIGHTS_SEQ_NO: list(versions[: len(part)]), **outputs_of(part)}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
