"""How the modules that play numbers explore: what is added to an exported network for that.

`modules.exported` gives what acts greedily; drawing takes deviations as well, which SAC's networks
put out themselves.
"""

from dataclasses import replace
from functools import singledispatch
from math import inf, log, prod
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network
from marlserve.policies.export.noise import Noise
from marlserve.policies.models.action_distributions import LOG_STD
from marlserve.policies.models.actor_critic import ActorCriticModule
from marlserve.policies.models.sac import SACModule
from marlserve.policies.models.sac_gru import SACGRUModule
from marlserve.policies.models.td3 import TD3Module

_SPREAD, _LOG_DEVIATION = "spread", "log_deviation"


def explored(module: RLModule, network: Network) -> tuple[Network, Noise | None]:
    """The network, with what it takes to explore; no noise if the module plays choices.

    Args:
        network: the module as it was exported.

    Raises:
        ValueError: for a module with numbers as actions that is not one of ours.
    """
    if not isinstance(module.action_space, Box):
        return network, None
    return _with_noise(module, network)


@singledispatch
def _with_noise(module: RLModule, network: Network) -> tuple[Network, Noise]:
    raise ValueError(f"it is not known how a {type(module).__name__} explores with numbers")


@_with_noise.register
def _(module: ActorCriticModule, network: Network) -> tuple[Network, Noise]:
    assert module.log_std is not None  # as the actions are numbers
    return network, Noise(network.layers[-1].name, "", tuple(module.log_std.tolist()))


@_with_noise.register
def _(module: TD3Module, network: Network) -> tuple[Network, Noise]:
    deviation = float(module.model_config["exploration_noise"])
    logs = (log(deviation) if deviation else -inf,) * prod(network.actions.heads)
    return network, Noise(network.layers[-1].name, "", logs, "clip")


@_with_noise.register
def _(module: SACModule, network: Network) -> tuple[Network, Noise]:
    last: Any = module.actor[-1]
    size = len(last.bias) // 2
    return _squashed(network, last.weight[size:], last.bias[size:])


@_with_noise.register
def _(module: SACGRUModule, network: Network) -> tuple[Network, Noise]:
    head: Any = module.actor.head
    return _squashed(network, head.weight[1::2], head.bias[1::2])


def _squashed(network: Network, weight: Tensor, bias: Tensor) -> tuple[Network, Noise]:
    """With layers for the logarithms of the deviations, as `Squashed` has them; the means are the
    layer before the last one, whose tanh makes the greedy actions of them."""
    *before, means, last = network.layers
    shape, size = means.shape, means.shape[-1]
    low, high = LOG_STD
    half = 0.5 * (high - low)
    layers = (
        Layer(_SPREAD, "linear", means.inputs, shape),
        Layer(f"{_SPREAD}.bounded", "tanh", (_SPREAD,), shape),
        Layer(_LOG_DEVIATION, "linear", (f"{_SPREAD}.bounded",), shape),
    )
    weights = {
        f"{_SPREAD}.weight": weight.detach().cpu().numpy().copy(),
        f"{_SPREAD}.bias": bias.detach().cpu().numpy().copy(),
        f"{_LOG_DEVIATION}.weight": half * np.eye(size, dtype=np.float32),
        f"{_LOG_DEVIATION}.bias": np.full(size, low + half, np.float32),
    }
    more = replace(
        network, layers=(*before, means, *layers, last), weights={**network.weights, **weights}
    )
    return more, Noise(means.name, _LOG_DEVIATION, (), "tanh")
