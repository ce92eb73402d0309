"""From the RLModules of the algorithms to networks of `layers`; `written` knows each class.

Only what acts greedily is written: no critics, targets or uncertainties. What a linear layer is
followed by, and is linear too, becomes a part of it: the sum of a dueling network, the choice of
the means among a policy's means and spreads, ridge regression. Layers are named as in the module.
"""

from functools import singledispatch
from math import prod, sqrt
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn

from marlserve.policies.export.layers import OBSERVATION, Layer, Shape
from marlserve.policies.export.network import Network
from marlserve.policies.models.actor_critic import ActorCriticModule
from marlserve.policies.models.actor_critic_networks import PerComponent
from marlserve.policies.models.bandit import BanditModule
from marlserve.policies.models.dqn import DQNModule
from marlserve.policies.models.gru import FlatNetwork
from marlserve.policies.models.neural_linear import NeuralLinearModule
from marlserve.policies.models.neural_ucb import NeuralUCBModule
from marlserve.policies.models.q_agent import QAgentModule
from marlserve.policies.models.sac import SACModule
from marlserve.policies.models.sac_gru import SACGRUModule
from marlserve.policies.models.td3 import TD3Module
from marlserve.policies.sampling.agent_index import INDEXED_AGENTS

_SIMPLE = {nn.ReLU: "relu", nn.Tanh: "tanh"}


class Writer:
    """A network as it is being written; every method adds a layer and gives its name."""

    def __init__(self, observation_shape: Shape):
        self.layers: list[Layer] = []
        self.weights: dict[str, np.ndarray] = {}
        self._shapes: dict[str, Shape] = {OBSERVATION: observation_shape}

    def add(
        self, name: str, operation: str, *inputs: str, shape: Shape | None = None, **weights: Tensor
    ) -> str:
        """A layer; its shape is that of its first input if none is given."""
        shape = self._shapes[inputs[0]] if shape is None else shape
        self.layers.append(Layer(name, operation, inputs, shape))
        self._shapes[name] = shape
        for part, values in weights.items():
            array = values.detach().cpu().numpy().astype(np.float32)
            self.weights[f"{name}.{part}"] = array
        return name

    def flat(self) -> str:
        """The observation as a vector."""
        shape = self._shapes[OBSERVATION]
        if len(shape) == 1:
            return OBSERVATION
        return self.add("flat", "flatten", OBSERVATION, shape=(prod(shape),))

    def linear(self, name: str, source: str, weight: Tensor, bias: Tensor) -> str:
        shape = (*self._shapes[source][:-1], len(weight))
        return self.add(name, "linear", source, shape=shape, weight=weight, bias=bias)

    def sequential(self, name: str, source: str, parts: Any) -> str:
        """Linear layers, ReLU and tanh, one after the other."""
        for index, part in enumerate(parts):
            if isinstance(part, nn.Sequential):
                source = self.sequential(f"{name}.{index}", source, part)
            elif isinstance(part, nn.Linear):
                source = self.linear(f"{name}.{index}", source, part.weight, part.bias)
            else:
                source = self.add(f"{name}.{index}", _SIMPLE[type(part)], source)
        return source

    def body(self, name: str, network: Any) -> str:
        """The features of a network of `gru`."""
        encoder = network.encoder
        if isinstance(network, FlatNetwork):
            source = self.linear(f"{name}.encoder", self.flat(), encoder.weight, encoder.bias)
            source = self.add(f"{name}.encoded", "relu", source)
        else:
            source = self.linear(f"{name}.encoder", OBSERVATION, encoder.weight, encoder.bias)
            if network.embedding is not None:
                vectors = network.embedding(network.index)  # [M, hidden]
                source = self.add(f"{name}.embedding", "embedding", source, weight=vectors)
            encoded = self.add(f"{name}.encoded", "relu", source)
            size = 2 * self._shapes[encoded][-1]
            pooled = self.add(f"{name}.pooled", "mean_max", encoded, shape=(size,))
            context = network.context
            source = self.linear(f"{name}.context", pooled, context.weight, context.bias)
            source = self.add(f"{name}.in_context", "add", encoded, source)
        memory: Any = network.memory
        if isinstance(memory, nn.GRU):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights: dict[str, Any] = {part: getattr(memory, f"{part}_l0") for part in names}
            shape = (*self._shapes[source][:-1], memory.hidden_size)
            return self.add(f"{name}.memory", "gru", source, shape=shape, **weights)
        source = self.linear(f"{name}.memory", source, memory.weight, memory.bias)
        return self.add(f"{name}.remembered", "relu", source)

    def values(self, name: str, source: str, network: Any) -> str:
        """What the head of a network of `gru` reads from its features."""
        last = self.linear(name, source, network.head.weight, network.head.bias)
        if not getattr(network, "choice", False):
            return last
        return self.add(f"{name}.scores", "flatten", last, shape=self._shapes[last][:1])

    def standardized(self, name: str, source: str, moments: Any) -> str:
        mean, deviation = moments.mean, moments.deviation
        return self.add(name, "standardize", source, mean=mean, deviation=deviation)


@singledispatch
def written(module: RLModule, to: Writer) -> str:
    """Write how this module acts, and say what its last layer puts out (`network.OUTPUTS`)."""
    known = sorted(cls.__name__ for cls in written.registry if cls is not object)
    raise ValueError(f"a {type(module).__name__} cannot be exported; there are {known}")


def exported(
    module: RLModule,
    normalize: bool,
    clip: bool,
    features: tuple[tuple[str, str], ...] = (),
) -> Network:
    """The module as a network.

    Args:
        normalize, clip: RLlib's `normalize_actions` and `clip_actions`, for `Box` actions.
        features: (name, unit) of each number on the last axis of an observation, or none.

    Raises:
        ValueError: for a module that is not one of ours.
    """
    to = Writer(module.observation_space.shape)
    outputs, space = written(module, to), module.observation_space
    indexed = tuple((module.model_config or {}).get(INDEXED_AGENTS) or ())
    if indexed:  # which is no part of what the environment shows
        own = slice(space.shape[0] - len(indexed))
        space = Box(space.low[own], space.high[own], dtype=space.dtype)
    is_box = isinstance(module.action_space, Box)
    stretch = is_box and normalize and module.action_space.is_bounded()
    return Network(
        space,
        module.action_space,
        tuple(to.layers),
        to.weights,
        outputs,
        stretch,
        is_box and (clip or stretch),
        features,
        indexed,
    )


@written.register
def _(module: QAgentModule, to: Writer) -> str:
    to.values("network.head", to.body("network", module.network), module.network)
    return "action values"


@written.register
def _(module: ActorCriticModule, to: Writer) -> str:
    if isinstance(module.actor, PerComponent):
        network = module.actor.network
        to.values("actor.head", to.body("actor", network), network)
    else:
        to.sequential("actor", to.flat(), module.actor)
    return "numbers" if isinstance(module.action_space, Box) else "logits"


@written.register
def _(module: DQNModule, to: Writer) -> str:
    if isinstance(module.network, PerComponent):
        inner = module.network.network
        to.values("network.head", to.body("network", inner), inner)
        return "action values"
    network: Any = module.network
    source = to.sequential("network.body", to.flat(), network.body)
    weight, bias = network.head.weight, network.head.bias
    advantages = (weight[1:] - weight[1:].mean(0), bias[1:] - bias[1:].mean())
    to.linear("network.head", source, weight[:1] + advantages[0], bias[:1] + advantages[1])
    return "action values"


@written.register
def _(module: SACModule, to: Writer) -> str:
    actor: Any = module.actor
    source = to.sequential("actor", to.flat(), actor[:-1])
    last, size = actor[-1], prod(module.action_space.shape)
    of_means = slice(size) if module.is_box else slice(None)  # the spreads follow
    source = to.linear("actor.last", source, last.weight[of_means], last.bias[of_means])
    return _squashed(module, source, to)


@written.register
def _(module: SACGRUModule, to: Writer) -> str:
    actor: Any = module.actor
    source, head = to.body("actor", actor), actor.head
    if module.is_box:
        means = slice(None, None, 2)  # mean, spread, mean, spread, ...
        source = to.linear("actor.head", source, head.weight[means], head.bias[means])
    else:
        source = to.values("actor.head", source, actor)
    return _squashed(module, source, to)


def _squashed(module: SACModule | SACGRUModule, source: str, to: Writer) -> str:
    if module.is_box:
        to.add("squashed", "tanh", source)
    return "numbers" if module.is_box else "logits"


@written.register
def _(module: TD3Module, to: Writer) -> str:
    to.sequential("actor", to.flat(), module.actor)
    return "numbers"


@written.register
def _(module: NeuralUCBModule, to: Writer) -> str:
    to.sequential("networks.0", _contexts(module, to), module.networks[0])
    return "expected rewards"


@written.register
def _(module: NeuralLinearModule, to: Writer) -> str:
    """Ridge regression on the last hidden layers of all networks, each of unit length."""
    networks, source = module.networks, _contexts(module, to)
    weight = module.confidence.coefficients  # [K or 1, F + 1], the last one times 1
    size = (weight.shape[1] - 1) // len(networks)
    means = []
    for index, network in enumerate(networks):
        name = f"networks.{index}"
        last = to.add(f"{name}.unit", "normalize", to.sequential(name, source, network[:-1]))
        own = weight[:, index * size : (index + 1) * size] / sqrt(len(networks))
        bias = weight[:, -1] if index == 0 else 0.0 * weight[:, -1]
        means.append(to.linear(f"{name}.mean", last, own, bias))
    to.add("mean", "add", *means)
    return "expected rewards"


def _contexts(module: BanditModule, to: Writer) -> str:
    """The contexts, standardised: one, or one for each arm."""
    source = OBSERVATION if module.context_per_arm else to.flat()
    return to.standardized("moments", source, module.moments)
