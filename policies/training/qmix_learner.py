"""How QMIX learns from a batch of sequences: targets and loss.

The reward of the team is the sum over the agents, divided by how many there may be, so a reward
that is given to all alike counts once, and one who leaves takes no weight from the others.
Without mixing ("none") every agent's heads learn from that agent's own reward.

The targets are Peng's Q(lambda) returns within a row, from the target networks' values of the best
next actions. The last step of a row is bootstrapped from its last observation, unless the episode
terminated there: a truncated one goes on as far as values are concerned. For independent learners
an agent that becomes inactive has terminated.
"""

from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor

from marlserve.policies.models.joint import AGENTS, CHOSEN, HEADS, NEXT
from marlserve.policies.sampling.own_spaces import OwnSpaces
from marlserve.policies.sampling.runner import MIXER
from marlserve.policies.sampling.sequences import (
    ACTION_MASK,
    ACTIVE,
    FIRST,
    HIDDEN,
    LENGTH,
    REWARDS,
    STATE,
    TERMINATED,
    Sequences,
)
from marlserve.policies.training.off_policy_learner import OffPolicyLearner
from marlserve.policies.training.returns import lambda_returns


def learner_batch(
    sequences: Sequences,
    groups: dict[str, np.ndarray],
    own: dict[str, OwnSpaces] | None = None,
) -> MultiAgentBatch:
    """What the learners are given: one entry for the team and one per policy, R rows each.

    Args:
        sequences: R rows.
        groups: {module_id: indices of its agents}.
        own: {module_id: spaces of its agents}; None if all agents have the same.
    """
    of_team = (STATE, ACTIVE, REWARDS, TERMINATED, LENGTH, FIRST)
    team = {name: sequences[name] for name in of_team if name in sequences}
    batches = {MIXER: SampleBatch(team)}
    for module_id, index in groups.items():
        # One policy for all agents needs no copies.
        agents = slice(None) if len(groups) == 1 else index
        names = {Columns.OBS, Columns.ACTIONS, ACTION_MASK} & sequences.columns.keys()
        columns = {name: sequences[name][:, :, agents] for name in names}
        if own is not None:
            columns = own[module_id].columns(columns, lead=3)
        if columns[Columns.ACTIONS].ndim == 3:  # of one component without an axis
            columns[Columns.ACTIONS] = columns[Columns.ACTIONS][..., None]
        columns |= {AGENTS: np.tile(index, (len(sequences), 1)), FIRST: sequences[FIRST]}
        if HIDDEN in sequences:
            columns[HIDDEN] = sequences[HIDDEN][:, agents]
        batches[module_id] = SampleBatch(columns)
    return MultiAgentBatch(batches, env_steps=sequences.env_steps())


class QMIXLearner(OffPolicyLearner):
    """One loss for all policies and the mixer."""

    def compute_losses(
        self, *, fwd_out: dict[str, Any], batch: dict[str, Any]
    ) -> dict[str, Tensor]:
        chosen = fwd_out[MIXER][CHOSEN]
        targets, weights = self._targets(batch[MIXER], fwd_out[MIXER])
        total = weights.sum().clamp(min=1.0)
        error = (chosen - targets) * weights
        loss = error.square().sum() / total
        with torch.no_grad():
            self.metrics.log_dict(
                {
                    "td_error_abs": error.abs().sum() / total,
                    "value_mean": (chosen * weights).sum() / total,
                    "target_mean": (targets * weights).sum() / total,
                },
                key=MIXER,
                window=1,
            )
        return {MIXER: loss}

    @torch.no_grad()
    def _targets(self, team: dict[str, Tensor], out: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Targets and loss weights (0 or 1), both shaped as the mixed values in `out`."""
        config = self.config
        active = team[ACTIVE].transpose(0, 1).float()  # [T+1, R, N]
        rewards = team[REWARDS].transpose(0, 1)  # [T, R, N]
        step = torch.arange(len(rewards), device=rewards.device)[:, None]  # [T, 1]
        is_last = step == team[LENGTH] - 1  # [T, R]
        goes_on = 1.0 - (is_last & team[TERMINATED]).float()
        # The state stored with a row may be stale, except at the start of an episode.
        burn_in = torch.where(team[FIRST], 0, config.burn_in)
        weights = ((step < team[LENGTH]) & (step >= burn_in)).float()
        if config.mixer == "none":

            def per_head(values: Tensor) -> Tensor:
                return values.repeat_interleave(out[HEADS], -1)

            rewards = per_head(rewards)
            goes_on = goes_on[..., None] * per_head(active[1:])
            weights = weights[..., None] * per_head(active[:-1])
            is_last = is_last[..., None]
        else:
            rewards = (rewards * active[:-1]).mean(-1)
        targets = lambda_returns(
            rewards, out[NEXT], goes_on, is_last, config.gamma, config.td_lambda
        )
        return targets, weights

    def compute_loss_for_module(self, **kwargs):
        raise NotImplementedError("the loss is joint: see compute_losses")

    def postprocess_gradients(self, gradients_dict: dict) -> dict:
        """Clip by the norm over all modules together, where RLlib would clip each by itself."""
        config = self.config
        if not config.grad_clip or config.grad_clip_by != "global_norm":
            return super().postprocess_gradients(gradients_dict)
        norm = self._get_clip_function()(
            gradients_dict, grad_clip=config.grad_clip, grad_clip_by=config.grad_clip_by
        )
        self.metrics.log_value((MIXER, "gradients_global_norm"), norm, window=1)
        return gradients_dict
