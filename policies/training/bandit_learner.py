"""How contextual bandits learn: networks by regression, their confidence by counting what was done.

The loss of a step is the squared error of each network's output for the arm that was chosen, plus
`uncertainty_coef` times the variance of that prediction, in which A is constant. Each policy
learns by itself.

Gradients are averaged over the learners that work together. The confidence is not: each of them is
given all rows, and comes to the same.
"""

from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER
from torch import Tensor

from marlserve.policies.models.bandit import CHOSEN, VARIANCE
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.training.independent import LOSS_MASK, batch_by_policy
from marlserve.policies.training.off_policy_learner import (
    OffPolicyLearner,
    loss_weights,
    masked_mean,
)

Rounds = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


class BanditLearner(OffPolicyLearner):
    """Regression, and `absorb`."""

    def configure_optimizers_for_module(self, module_id: str, config=None) -> None:
        parameters = self.get_parameters(self.module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer_name=DEFAULT_OPTIMIZER,
            optimizer=torch.optim.AdamW(parameters, weight_decay=config.weight_decay, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def compute_loss_for_module(
        self,
        *,
        module_id: str,
        config,
        batch: dict[str, Any],
        fwd_out: dict[str, Tensor],
    ) -> Tensor:
        weights = loss_weights(batch)
        errors = (fwd_out[CHOSEN] - batch[Columns.REWARDS]).square().sum(0)  # of all networks
        loss = error = masked_mean(errors, weights)
        if VARIANCE in fwd_out:
            loss = loss + config.uncertainty_coef * masked_mean(fwd_out[VARIANCE], weights)
        self.metrics.log_value((module_id, "squared_error"), error.detach(), window=1)
        return loss

    def observe(self, rounds: Rounds) -> None:
        """Let the policies standardise contexts by those of these rounds too."""
        for module, seen, *_ in self._of_modules(rounds).values():
            module.observe(seen)

    def absorb(self, rounds: Rounds, forget: bool) -> None:
        """Let the policies' confidence count these rounds; `conclude` when there are no more.

        Args:
            rounds: what `rounds_by_policy` gives.
            forget: what was counted before.
        """
        for module, *columns in self._of_modules(rounds).values():
            if forget:
                module.confidence.clear()
            module.absorb(*columns)

    def conclude(
        self, newest: Rounds, mean: float, deviation: float
    ) -> dict[str, dict[str, float]]:
        """Make predictions and uncertainties of all that was absorbed.

        Args:
            newest: the rounds that the metrics are of.
            mean: of all rewards, which are standardised by it,
            deviation: and by this.

        Returns:
            {module_id: metrics}, in standard deviations of the reward
        """
        results = {}
        for module_id, (module, seen, arms, rewards) in self._of_modules(newest).items():
            module.confidence.solve(mean, deviation)
            means, uncertainties = (x.gather(-1, arms[:, None]) for x in module.beliefs(seen))
            errors = means.squeeze(-1) - (rewards - mean) / deviation
            results[module_id] = {
                "value_mean": means.mean().item(),
                "value_error_abs": errors.abs().mean().item(),
                "uncertainty_mean": uncertainties.mean().item(),
            }
        self._weights_seq_no += 1  # env runners ignore weights that are not newer than theirs
        return results

    def _of_modules(self, rounds: Rounds) -> dict[str, tuple]:
        """{module_id: (module, observations, arms, rewards)} of the policies that are trained."""
        return {
            module_id: (
                self.module[module_id].unwrapped(),
                *(torch.tensor(column, device=self._device) for column in columns),
            )
            for module_id, columns in rounds.items()
            if self.should_module_be_updated(module_id)
        }


def rounds_by_policy(sequences: Sequences, groups: dict[str, np.ndarray]) -> Rounds:
    """What each policy's agents did, {module_id: (observations [n, *O], arms [n], rewards [n])}.

    Args:
        sequences: R rows.
        groups: {module_id: indices of its agents}, as `acting.agent_groups` gives them.
    """
    rounds = {}
    for module_id, batch in batch_by_policy(sequences, groups).policy_batches.items():
        acted = batch[LOSS_MASK]  # [R, L]
        columns = batch[Columns.OBS][:, :-1], batch[Columns.ACTIONS], batch[Columns.REWARDS]
        rounds[module_id] = tuple(column[acted] for column in columns)
    return rounds
