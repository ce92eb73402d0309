"""The networks of PPO and A2C: observations [n, *O] -> numbers [n, size], without a memory.

Where an observation [M, F] meets an action of M components, or the choice of one of M, they may be
those of `gru`, the same small network for each component; elsewhere they are layers of tanh over
the flat observation. All end in one linear layer whose first outputs are small: all actions begin
alike, and so do all values (Andrychowicz et al. 2021).
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import cast

import gymnasium
import numpy as np
from torch import Tensor, nn

from marlserve.policies.models.gru import (
    NETWORKS,
    PerComponentNetwork,
    describes_components,
    make_network,
)

_FIRST_GAIN = 0.01  # of last layers


class PerComponent(nn.Module):
    """The actor: the numbers of every component, one component after the other."""

    def __init__(self, network: PerComponentNetwork):
        super().__init__()
        self.network = network

    def forward(self, observations: Tensor) -> Tensor:
        """[n, M, F] -> [n, M * A], or [n, M] for the choice of one."""
        return self.network(observations.unsqueeze(0), None)[0].squeeze(0).flatten(1)


class Pooled(nn.Module):
    """The critic's body: the mean of all components' features.

    The network's head is given away.
    """

    def __init__(self, network: PerComponentNetwork):
        super().__init__()
        self.network = network
        self.network.head = nn.Identity()  # type: ignore[assignment]

    def forward(self, observations: Tensor) -> Tensor:
        """[n, M, F] -> [n, hidden_size]."""
        return self.network.body(observations.unsqueeze(0), None)[0].squeeze(0).mean(-2)


def actor_and_critic(
    observation_space: gymnasium.spaces.Box,
    action_space: gymnasium.Space,
    num_outputs: int,
    model_config: dict,
) -> tuple[nn.Module, nn.Sequential]:
    """Two networks that share nothing: an actor, and a critic with one output.

    The critic's last module is its last linear layer.

    Args:
        num_outputs: of the actor.
        model_config: "network" as `gru.make_network` has it; "hidden_sizes" of flat networks;
            "hidden_size" and "embedding_size" of per-component ones.

    Raises:
        ValueError: for an unknown "network", or "per_component" where the shapes do not allow it.
    """
    made = partial(component_network, observation_space, action_space, model_config)
    network, shape = made(), observation_space.shape
    if network is None:
        sizes = int(np.prod(shape)), model_config["hidden_sizes"]
        flat = orthogonal_mlp(*sizes, num_outputs, _FIRST_GAIN)
        return flat, orthogonal_mlp(*sizes, 1, _FIRST_GAIN)
    actor, last = PerComponent(network), nn.Linear(model_config["hidden_size"], 1)
    for linear in (actor.network.head, last):
        nn.init.orthogonal_(linear.weight, _FIRST_GAIN)
        nn.init.zeros_(linear.bias)
    return actor, nn.Sequential(Pooled(cast(PerComponentNetwork, made())), last)


def component_network(
    observation_space: gymnasium.spaces.Box, action_space: gymnasium.Space, model_config: dict
) -> PerComponentNetwork | None:
    """The feed-forward network per component that a `model_config` asks for; None: a flat one.

    Raises:
        ValueError: for an unknown "network", or "per_component" where the shapes do not allow it.
    """
    if (network := model_config["network"]) not in NETWORKS:
        raise ValueError(f"network is {network!r}; allowed are {NETWORKS}")
    fits = describes_components(observation_space, action_space)
    if network == "flat" or (network == "auto" and not fits):
        return None
    made = make_network(
        observation_space,
        action_space,
        network="per_component",
        hidden_size=model_config["hidden_size"],
        use_gru=False,
        embedding_size=model_config["embedding_size"],
        num_values=1,  # of Box, a mean
    )
    return cast(PerComponentNetwork, made)


def orthogonal_mlp(
    num_inputs: int, hidden_sizes: Sequence[int], num_outputs: int, last_gain: float
) -> nn.Sequential:
    """Observations made flat, linear layers, tanh between them; weights orthogonal, biases zero."""
    sizes = [num_inputs, *hidden_sizes, num_outputs]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        is_last = len(layers) == 2 * len(hidden_sizes)
        nn.init.orthogonal_(linear.weight, last_gain if is_last else np.sqrt(2.0))
        nn.init.zeros_(linear.bias)
        layers += [linear] if is_last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)
