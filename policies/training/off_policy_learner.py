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
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from torch import Tensor, nn

from marlserve.policies.sampling.sequences import FIRST
from marlserve.policies.training.independent import GOES_ON, IS_LAST, LOSS_MASK
from marlserve.policies.training.returns import lambda_returns

_NUM_UPDATES = "num_updates"


class OffPolicyLearner(TorchLearner):
    """Makes `config.get_updates_per_step()` updates of a batch; a subclass gives the loss."""

    def build(self) -> None:
        super().build()
        for module in self._with_targets():
            module.make_target_networks()
        self._num_updates = 0

    def _update(self, batch: dict[str, Any]) -> tuple:
        for part in _parts(batch, self.config.get_updates_per_step()):
            result = super()._update(part)
            self._num_updates += 1
            if self._num_updates % self.config.target_network_update_freq == 0:
                self._update_targets()
        return result

    def apply_gradients(self, gradients_dict: dict[str, Tensor]) -> None:
        """As RLlib does it, which looks whether they are finite tensor by tensor, twice: here at
        all of them at once, and more closely only if they are not."""
        plain = self._grad_scalers is None and self._lr_scheduler_classes is None
        if not (
            plain and torch.stack(torch._foreach_norm([*gradients_dict.values()])).isfinite().all()
        ):
            super().apply_gradients(gradients_dict)
            return
        for key, gradient in gradients_dict.items():
            self._params[key].grad = gradient
        for optimizer in self._named_optimizers.values():
            optimizer.step()

    def configure_optimizers_for_module(self, module_id: str, config=None) -> None:
        """One optimizer for the whole module."""
        parameters = self.get_parameters(self.module[module_id])
        self.add_optimizer(module_id, DEFAULT_OPTIMIZER, parameters, config)

    def add_optimizer(
        self, module_id: str, name: str, parameters: list[nn.Parameter], config, lr=None
    ) -> None:
        """Adam for these parameters of a module; `lr` is the config's if it is None."""
        self.register_optimizer(
            module_id=module_id,
            optimizer_name=name,
            optimizer=torch.optim.Adam(parameters, fused=True),  # 3 times as fast
            params=parameters,
            lr_or_lr_schedule=config.lr if lr is None else lr,
        )

    def get_state(self, *args, **kwargs) -> dict[str, Any]:
        return {**super().get_state(*args, **kwargs), _NUM_UPDATES: self._num_updates}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._num_updates = state.get(_NUM_UPDATES, self._num_updates)

    @torch.no_grad()
    def _update_targets(self) -> None:
        """Move every target parameter by the share `tau` towards its network's."""
        for module in self._with_targets():
            for network, target in module.get_target_network_pairs():
                for new, old in zip(network.parameters(), target.parameters(), strict=True):
                    old.lerp_(new, self.config.tau)

    def _with_targets(self) -> list[TargetNetworkAPI]:
        modules = (module.unwrapped() for module in self.module.values())
        return [module for module in modules if isinstance(module, TargetNetworkAPI)]


def td_targets(
    batch: dict[str, Tensor],
    next_values: Tensor,
    gamma: float,
    td_lambda: float,
    bonus: Tensor | None = None,
) -> Tensor:
    """Returns within the rows, [R, L], from rewards and the values of the next steps, [R, L].

    `bonus` [R, L] is what the next step earns beside its value, such as its policy's entropy.
    """
    rewards, goes_on = batch[Columns.REWARDS], batch[GOES_ON]
    if bonus is not None:
        rewards = rewards + gamma * goes_on * bonus
    is_last = batch[IS_LAST].T
    return lambda_returns(rewards.T, next_values.T, goes_on.T, is_last, gamma, td_lambda).T


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
