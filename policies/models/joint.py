"""The team: runs the Q-network of every policy over a batch of sequences and mixes the values.

The batch has one entry per policy, for `q_agent`, with the actions taken and the positions of its
agents among all agents, and one entry MIXER with what concerns all of them:

    "<policy>": the training columns of `q_agent`, ACTIONS [R, T, n, H], AGENTS [R, n]
    MIXER:      ACTIVE [R, T+1, N], STATE [R, T+1, S] if the mixer reads it, and what the loss needs

Every entry has R rows, so that RLlib can share a batch among learners. The output, under MIXER and
with time first, has the mixed values of what was done and the mixed target values of the best
that can be done one step later: [T, R] for a team, [T, R, sum of H] over the agents if nothing is
mixed; and HEADS [N], the H of each agent. Agents of different policies may have different H.
"""

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from torch import Tensor

from marlserve.policies.models import mixing, q_agent
from marlserve.policies.sampling.runner import MIXER
from marlserve.policies.sampling.sequences import ACTIVE, STATE

AGENTS = "agents"
CHOSEN, NEXT, HEADS = "chosen", "next", "heads"


class JointModule(MultiRLModule):
    """The policies' modules and the mixer.

    Each module's `forward_train` runs exactly once per update, as DDP requires.
    """

    def is_stateful(self) -> bool:
        return any(m.is_stateful() for mid, m in self._rl_modules.items() if mid != MIXER)

    def _forward_train(self, batch: dict[str, dict], **kwargs) -> dict[str, dict[str, Tensor]]:
        mixer, team = self[MIXER], batch[MIXER]
        active = team[ACTIVE].transpose(0, 1)  # [T+1, R, N]
        columns: dict[int, tuple[Tensor, Tensor]] = {}  # by agent, each [T, R, H]
        for module_id, inputs in batch.items():
            if module_id == MIXER:
                continue
            out = self[module_id].forward_train(inputs)
            chosen, following = _chosen_and_next(out, inputs[Columns.ACTIONS].transpose(0, 1))
            for i, agent in enumerate(inputs[AGENTS][0].tolist()):
                columns[agent] = (chosen[:, :, i], following[:, :, i])
        by_agent = [columns[agent] for agent in range(active.shape[-1])]
        heads = torch.tensor([chosen.shape[-1] for chosen, _ in by_agent], device=active.device)
        # An agent whose part is over adds nothing to the team's value.
        acting = active.repeat_interleave(heads, -1)  # [T+1, R, sum of H]
        chosen = torch.cat([chosen for chosen, _ in by_agent], -1) * acting[:-1]
        following = torch.cat([following for _, following in by_agent], -1) * acting[1:]
        states: list[dict[str, Tensor]] = [{}, {}]
        if STATE in team:
            state = team[STATE].transpose(0, 1)
            states = [{mixing.STATE: state[:-1]}, {mixing.STATE: state[1:]}]
        chosen = mixer.forward_train({mixing.VALUES: chosen, **states[0]})
        following = mixer.unwrapped().forward_target({mixing.VALUES: following, **states[1]})
        return {MIXER: {CHOSEN: chosen[mixing.MIXED], NEXT: following[mixing.MIXED], HEADS: heads}}


def _chosen_and_next(out: dict[str, Tensor], actions: Tensor) -> tuple[Tensor, Tensor]:
    """Values of the actions taken, and target values of the best next ones, both [T, R, n, H].

    Every agent's values are read along its own axis: agent and action axes are never merged.
    """
    chosen = out[q_agent.VALUES][:-1].gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    greedy = out[q_agent.GREEDY][1:].unsqueeze(-1)
    return chosen, out[q_agent.TARGET_VALUES][1:].gather(-1, greedy).squeeze(-1)
