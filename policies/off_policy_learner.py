"""What off-policy learners share: many updates in one call, target networks, masked losses.

A batch holds the rows of `updates_per_step` updates, in order. Each update has its share of the
rows of every policy, and target networks follow after each, so the result is that of as many calls
with a share each; only RLlib's work around them, which takes longer than a small network's update,
is done once.
"""

from collections.abc import Iterator
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.utils import update_target_network
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from torch import Tensor

from marlserve.policies.independent import GOES_ON, IS_LAST, LOSS_MASK
from marlserve.policies.returns import lambda_returns
from marlserve.policies.sampling.sequences import FIRST

_NUM_UPDATES = "num_updates"


class OffPolicyLearner(TorchLearner):
    """Makes `config.updates_per_step` updates of a batch; a subclass gives the loss."""

    def build(self) -> None:
        super().build()
        for module in self._with_targets():
            module.make_target_networks()
        self._num_updates = 0

    def _update(self, batch: dict[str, Any]) -> tuple:
        for part in _parts(batch, self.config.updates_per_step):
            result = super()._update(part)
            self._num_updates += 1
            if self._num_updates % self.config.target_network_update_freq == 0:
                for module in self._with_targets():
                    for network, target in module.get_target_network_pairs():
                        update_target_network(
                            main_net=network, target_net=target, tau=self.config.tau
                        )
        return result

    def get_state(self, *args, **kwargs) -> dict[str, Any]:
        return {**super().get_state(*args, **kwargs), _NUM_UPDATES: self._num_updates}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._num_updates = state.get(_NUM_UPDATES, self._num_updates)

    def _with_targets(self) -> list[TargetNetworkAPI]:
        modules = (module.unwrapped() for module in self.module.values())
        return [module for module in modules if isinstance(module, TargetNetworkAPI)]


def td_targets(
    batch: dict[str, Tensor], next_values: Tensor, gamma: float, td_lambda: float
) -> Tensor:
    """Returns within the rows, [R, L], from rewards and the values of the next steps, [R, L]."""
    columns = (batch[Columns.REWARDS], next_values, batch[GOES_ON], batch[IS_LAST])
    return lambda_returns(*(column.T for column in columns), gamma, td_lambda).T


def loss_weights(batch: dict[str, Tensor], burn_in: int = 0) -> Tensor:
    """1 where a step counts, else 0, [R, L].

    The first `burn_in` steps of a row do not, unless the row starts an episode: a stored hidden
    state may be stale.
    """
    counts = batch[LOSS_MASK]
    if burn_in:
        step = torch.arange(counts.shape[1], device=counts.device)
        counts = counts & ((step >= burn_in) | batch[FIRST][:, None])
    return counts.float()


def masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `values` over the steps that count; [R, L] both."""
    return (values * weights).sum() / weights.sum().clamp(min=1.0)


def _parts(batch: dict[str, Any], number: int) -> Iterator[dict[str, dict[str, Tensor]]]:
    """The batch's rows in `number` equal parts, {module_id: columns} each.

    Raises:
        ValueError: if the rows of a policy cannot be divided so.
    """
    sizes = {}
    for module_id, columns in batch.items():
        sizes[module_id], rest = divmod(len(columns), number)
        if rest:
            raise ValueError(
                f"policy {module_id!r} has {len(columns)} rows, which {number} updates cannot share"
            )
    for part in range(number):
        rows = {module_id: slice(part * n, (part + 1) * n) for module_id, n in sizes.items()}
        yield {
            module_id: {name: column[rows[module_id]] for name, column in columns.items()}
            for module_id, columns in batch.items()
        }
