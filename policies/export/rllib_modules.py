"""How the default modules of RLlib's own algorithms are written: PPO, APPO, IMPALA, DQN and SAC.

Importing this teaches `modules.exported`. The networks must be layers of ReLU or tanh on a vector,
without memory, layer norm or atoms, and actions must be choices.
"""

from typing import Any

from gymnasium.spaces import Box
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from torch import nn

from marlserve.policies.export.modules import Writer, written

_PARTS = (nn.Linear, nn.ReLU, nn.Tanh, nn.Sequential)


def _layers(part: Any) -> list[Any]:
    """The layers of an encoder or a head.

    Raises:
        ValueError: if there are other ones than linear, ReLU and tanh.
    """
    layers = getattr(getattr(part, "net", None), "mlp", None)
    if not isinstance(layers, nn.Sequential):
        raise ValueError(f"a {type(part).__name__} cannot be exported; only plain layers can")
    for layer in layers:
        if not isinstance(layer, _PARTS) or getattr(layer, "bias", ...) is None:
            raise ValueError(
                f"{layer} cannot be exported; allowed are linear with bias, ReLU, tanh"
            )
    return list(layers)


@written.register
def _(module: DefaultPPOTorchRLModule, to: Writer) -> str:
    if isinstance(module.action_space, Box):
        raise ValueError("RLlib's PPO with numbers as actions cannot be exported; choices can")
    encoder = module.encoder
    actor = encoder.encoder if encoder.config.shared else encoder.actor_encoder
    source = to.sequential("encoder", to.flat(), _layers(actor))
    to.sequential("pi", source, _layers(module.pi))
    return "logits"


@written.register
def _(module: DefaultDQNTorchRLModule, to: Writer) -> str:
    if module.num_atoms > 1:
        raise ValueError(f"num_atoms is {module.num_atoms}; only 1 can be exported")
    source = to.sequential("encoder", to.flat(), _layers(module.encoder))
    *body, last = _layers(module.af)
    advantages = to.sequential("af.body", source, body)
    if not module.uses_dueling:
        to.linear("af", advantages, last.weight, last.bias)
        return "action values"
    weight, bias = last.weight, last.bias
    centred = to.linear("af", advantages, weight - weight.mean(0), bias - bias.mean())
    *body, last = _layers(module.vf)
    every = len(weight)  # the value, once for each action
    value = to.sequential("vf.body", source, body)
    value = to.linear("vf", value, last.weight.expand(every, -1), last.bias.expand(every))
    to.add("values", "add", centred, value)
    return "action values"


@written.register
def _(module: DefaultSACTorchRLModule, to: Writer) -> str:
    if isinstance(module.action_space, Box):
        raise ValueError("RLlib's SAC with numbers as actions cannot be exported; choices can")
    source = to.sequential("pi_encoder", to.flat(), _layers(module.pi_encoder))
    to.sequential("pi", source, _layers(module.pi))
    return "logits"
