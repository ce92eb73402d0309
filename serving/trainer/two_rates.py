"""PPO with a learning rate for the actor and another one for the critic."""

from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner

VF_LR = "vf_lr"  # in `learner_config_dict`
_CRITIC = ("vf.", "encoder.critic_encoder.")


class TwoRates(PPOTorchLearner):
    """RLlib's, with two optimizers; actor and critic share no layers."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        sides: dict[bool, list[torch.Tensor]] = {False: [], True: []}
        for name, parameter in self._module[module_id].named_parameters():
            sides[name.startswith(_CRITIC)].append(parameter)
        rates = {False: config.lr, True: config.learner_config_dict[VF_LR]}
        for is_critic, parameters in sides.items():
            self.register_optimizer(
                module_id=module_id,
                optimizer_name="critic" if is_critic else "actor",
                optimizer=torch.optim.Adam(parameters),
                params=parameters,
                lr_or_lr_schedule=rates[is_critic],
            )
