"""How on-policy algorithms learn from rows: values, advantages, shuffled minibatches, losses.

The learner is given the rows of `independent.batch_by_policy`. With its present weights it computes
the values of all observations and from them the lambda-returns, which are the targets of the
values; a lambda-return minus the value is the generalised advantage estimate (Schulman et al.
2016). What remains are transitions, of which each epoch makes minibatches in random order.

Of several learners, each has its share of the rows. All of them normalise by the moments that all
transitions have together, and all run the same number of minibatches, as the exchange of gradients
demands: as many as the mean number of transitions asks for, each learner dividing its own evenly.

A minibatch is a handful of small operations, so what concerns the whole update, its metrics above
all, is done once per update.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from marlserve.policies.models.actor_critic import ENTROPY, TEACHER_LOGP, ActorCriticModule
from marlserve.policies.sampling.sequences import ACTION_MASK
from marlserve.policies.sampling.teacher import TEACHER_ACTIONS
from marlserve.policies.training.independent import GOES_ON, IS_LAST, LOSS_MASK
from marlserve.policies.training.on_policy_config import SCHEDULED
from marlserve.policies.training.returns import lambda_returns

ADVANTAGES, VALUE_TARGETS, OLD_VALUES = "advantages", "value_targets", "old_values"
_PER_TRANSITION = (Columns.ACTIONS, Columns.ACTION_LOGP, TEACHER_ACTIONS)
_TEACHER_LOSS = "teacher_loss"
_LEAST_RATE = 0.1  # with which the critics' scales follow the returns
_EPSILON = 1e-8


class OnPolicyLearner(TorchLearner):
    """Subclasses have a `policy_loss`."""

    def policy_loss(
        self, config, batch: dict[str, Tensor], out: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The "policy_loss" of a minibatch, and further scalars to report."""
        raise NotImplementedError

    def value_loss(self, config, batch: dict[str, Tensor], out: dict[str, Tensor]) -> Tensor:
        """Of normalised values, hence of the same size whatever the rewards are."""
        return 0.5 * mean((out[Columns.VF_PREDS] - batch[VALUE_TARGETS]).square())

    def configure_optimizers_for_module(self, module_id: str, config=None) -> None:
        """Adam with the epsilon of the PPO literature; fused, as its arithmetic is tiny."""
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.Adam(parameters, eps=1e-5, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def is_enough(self, num_minibatches: int) -> bool:
        """Whether to stop after an epoch of so many minibatches; all learners must agree."""
        return False

    def compute_loss_for_module(
        self, *, module_id: str, config, batch: dict[str, Tensor], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        terms = {
            **self.policy_loss(config, batch, fwd_out),
            "vf_loss": self.value_loss(config, batch, fwd_out),
            ENTROPY: mean(fwd_out[ENTROPY]),
        }
        if config.teacher:
            terms[_TEACHER_LOSS] = -mean(fwd_out[TEACHER_LOGP])
        for name, value in terms.items():
            self._terms[module_id, name].append(value.detach())
        return (
            terms["policy_loss"]
            + config.vf_loss_coeff * terms["vf_loss"]
            - self._coeffs[module_id]["entropy_coeff"] * terms[ENTROPY]
            + self._coeffs[module_id].get("teacher_coeff", 0.0) * terms.get(_TEACHER_LOSS, 0.0)
        )

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        self._terms: dict[tuple[str, str], list[Tensor]] = defaultdict(list)  # of each minibatch
        step = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
        self._coeffs = {
            module_id: self._coeffs_of(self._config_of(module_id), step)
            for module_id in self.module.keys()  # noqa: SIM118
        }

    @staticmethod
    def _coeffs_of(config, step: int) -> dict[str, float]:
        """The weights that have a schedule, of what there is in the loss."""
        names = [name for name in SCHEDULED if name != "teacher_coeff" or config.teacher]
        return {name: Scheduler(getattr(config, name)).update(step) for name in names}

    def _create_iterator_if_necessary(
        self, *, training_data: TrainingData, **kwargs
    ) -> Iterator[MultiAgentBatch]:
        """From rows to minibatches of transitions; they are made while they are learned from."""
        rows = training_data.batch
        transitions, counts = {}, {}
        for module_id, of_module in rows.policy_batches.items():
            if self.should_module_be_updated(module_id, rows):
                transitions[module_id] = self.transitions(module_id, of_module)
                counts[module_id] = len(transitions[module_id][ADVANTAGES])
        (mean_count,) = self.averaged([float(max(counts.values(), default=0))])
        size = self.config.minibatch_size or max(mean_count, 1.0)
        return self._minibatches(transitions, max(1, round(mean_count / size)), rows.env_steps())

    def _minibatches(
        self, transitions: dict[str, dict[str, Tensor]], number: int, env_steps: int
    ) -> Iterator[MultiAgentBatch]:
        """`number` minibatches per epoch, each with a part of every module's transitions."""
        for _ in range(self.config.num_epochs):
            parts = {
                module_id: torch.randperm(len(columns[ADVANTAGES])).tensor_split(number)
                for module_id, columns in transitions.items()
            }
            for i in range(number):
                yield MultiAgentBatch(
                    {
                        module_id: SampleBatch(
                            {name: column[parts[module_id][i]] for name, column in columns.items()}
                        )
                        for module_id, columns in transitions.items()
                    },
                    env_steps,
                )
            if self.is_enough(number):
                break
        for key, values in self._terms.items():
            self.metrics.log_value(key, torch.stack(values).mean(), window=1)
        whole = {module_id: SampleBatch(columns) for module_id, columns in transitions.items()}
        super()._log_steps_trained_metrics(MultiAgentBatch(whole, env_steps))
        if any(len(of_module) for of_module in whole.values()):  # Ray's counters refuse a zero
            super()._log_metrics(MultiAgentBatch(whole, env_steps))

    def _log_steps_trained_metrics(self, batch: MultiAgentBatch) -> None:
        """Once per update, where every transition counts once; see `_minibatches`."""

    def _log_metrics(self, batch: MultiAgentBatch) -> None:
        """Likewise."""

    def transitions(self, module_id: str, rows: SampleBatch) -> dict[str, Tensor]:
        """The n steps in which an agent acted, without padding.

        Args:
            rows: columns [R, L or L + 1, ...] of `independent`.

        Returns:
            OBS, ACTIONS, ACTION_LOGP, "action_mask" if there is one, "advantages", "value_targets"
            and "old_values", [n, ...] each; the last three normalised as the config says.
        """
        config = self._config_of(module_id)
        module: ActorCriticModule = self.module[module_id].unwrapped()
        acted = np.asarray(rows[LOSS_MASK])  # [R, L]
        values = self._values(module, rows, acted)  # [R, L + 1]

        def time_first(name: str) -> Tensor:
            return torch.tensor(rows[name], device=self._device).transpose(0, 1)

        targets = lambda_returns(
            time_first(Columns.REWARDS),
            values[:, 1:].transpose(0, 1),
            time_first(GOES_ON),
            time_first(IS_LAST),
            config.gamma,
            config.lambda_,
        ).transpose(0, 1)
        chosen = torch.tensor(acted, device=self._device)
        targets, values = targets[chosen], values[:, :-1][chosen]  # [n]
        advantages = targets - values
        count, moments = self._moments(advantages, targets)
        if config.normalize_advantages:
            advantages = (advantages - moments[0]) / (moments[1].sqrt() + _EPSILON)
        if config.normalize_values and count:
            module.critic.normalise_to(moments[2], moments[3], _LEAST_RATE)
        if len(targets):
            self._log_values(module_id, module, targets, values)
        columns = {name: rows[name][acted] for name in {*_PER_TRANSITION} & rows.keys()}
        for name in {Columns.OBS, ACTION_MASK} & rows.keys():
            columns[name] = rows[name][:, :-1][acted]
        return {
            **{name: torch.from_numpy(x).to(self._device) for name, x in columns.items()},
            ADVANTAGES: advantages,
            VALUE_TARGETS: module.critic.normalised(targets),
            OLD_VALUES: module.critic.normalised(values),
        }

    @torch.no_grad()
    def _values(self, module: ActorCriticModule, rows: SampleBatch, acted: np.ndarray) -> Tensor:
        """Values of what agents saw before and after their steps, [R, L + 1]; zero elsewhere."""
        seen = np.zeros((len(acted), acted.shape[1] + 1), bool)
        seen[:, :-1] = acted
        seen[:, 1:] |= acted
        observations = torch.from_numpy(rows[Columns.OBS][seen]).to(self._device)
        values = torch.zeros(seen.shape, device=self._device)
        values[torch.from_numpy(seen).to(self._device)] = module.compute_values(
            {Columns.OBS: observations}
        )
        return values

    def _moments(self, *columns: Tensor) -> tuple[float, list[Tensor]]:
        """The count, and mean and variance of each column [n], of all learners' transitions."""
        double = [column.double() for column in columns]
        sums = [float(s) for x in double for s in (x.sum(), x.square().sum())]
        count, *sums = self.averaged([float(len(double[0])), *sums])
        result = []
        for total, squares in zip(sums[::2], sums[1::2], strict=True):
            average = total / max(count, _EPSILON)
            result += [average, max(squares / max(count, _EPSILON) - average**2, 0.0)]
        return count, [torch.tensor(x, dtype=torch.float32, device=self._device) for x in result]

    def averaged(self, numbers: list[float]) -> list[float]:
        """These numbers, averaged over all learners."""
        if not self.distributed:
            return numbers
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(tensor)
        return (tensor / torch.distributed.get_world_size()).tolist()

    def _log_values(self, module_id, module, targets, values) -> None:
        left = (targets - values).var(correction=0) / targets.var(correction=0).clamp(min=_EPSILON)
        self.metrics.log_dict(
            {
                "value_mean": values.mean(),
                "value_std": module.critic.std,
                "explained_variance": 1.0 - left,
                **self._coeffs[module_id],
            },
            key=module_id,
            window=1,
        )

    def _config_of(self, module_id: str):
        return self.config.get_config_for_module(module_id)


def mean(values: Tensor) -> Tensor:
    """Zero if there are none: a learner may have no transitions of a policy."""
    return values.sum() / max(len(values), 1)
