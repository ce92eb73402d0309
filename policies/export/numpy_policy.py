"""Plays a policy file for many episodes side by side, with numpy alone.

    policy = NumpyPolicy(file.read("served/policy"))
    actions = policy({agent: observations}, {agent: masks})     # greedy
    policy.reset()                                              # before other episodes

It is a `Policy` of `marlserve.envs.base`: [B, *O], masks [B, H, A] bool, actions [B, *A]. Agents
that share a network are computed together. What recurrent networks remember is kept per agent.
"""

from collections.abc import Callable

import numpy as np

from marlserve.policies.export.checked import Arrays, checked_masks, checked_observations
from marlserve.policies.export.layers import LEAST_LENGTH, OBSERVATION, Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.spaces import Numbers


class NumpyPolicy:
    """`{agent: observation} -> {agent: action}`."""

    def __init__(self, file: PolicyFile):
        self.file = file
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: the next observations are the first of their episodes."""
        self._hidden: dict[str, Arrays] = {}  # {agent: {layer: [B, *shape]}}
        self._batch: int | None = None

    def __call__(self, observations: Arrays, masks: Arrays | None = None) -> Arrays:
        """The greedy actions, {agent: [B, *A]}.

        Args:
            observations: {agent: [B, *O]}.
            masks: {agent: [B, H, A]} bool, which actions are legal; all if None. Those of agents
                with `Box` actions are not read.

        Raises:
            ValueError: for an agent without a policy, observations or masks of a wrong shape,
                observations that are not finite numbers, and another B than since the last
                `reset()`.
        """
        seen = checked_observations(self.file, observations, self._batch)
        legal = checked_masks(self.file, masks, seen)
        return {
            agent: chosen(self.file.networks[self.file.network_of(agent)], outputs, legal[agent])
            for agent, outputs in self._step(seen).items()
        }

    def outputs(self, observations: Arrays) -> Arrays:
        """What the networks put out, {agent: [B, H, A]}, or [B, D] for `Box`; this is a step, too.

        Raises:
            ValueError: as for a call.
        """
        return self._step(checked_observations(self.file, observations, self._batch))

    def _step(self, observations: Arrays) -> Arrays:
        groups: dict[str, list[str]] = {}
        batch = 0
        for agent, seen in observations.items():
            groups.setdefault(self.file.network_of(agent), []).append(agent)
            batch = self._batch = len(seen)
        result: Arrays = {}
        for name, agents in groups.items():
            network = self.file.networks[name]
            rows = np.concatenate(
                [seen_by(network, agent, observations[agent]) for agent in agents]
            )
            outputs, hidden = evaluate(network, rows, self._stacked(network, agents, batch))
            outputs = outputs.reshape(-1, *network.actions.heads)
            for index, agent in enumerate(agents):
                own = slice(index * batch, (index + 1) * batch)
                result[agent] = outputs[own]
                self._hidden[agent] = {layer: values[own] for layer, values in hidden.items()}
        return {agent: result[agent] for agent in observations}

    def _stacked(self, network: Network, agents: list[str], batch: int) -> Arrays:
        """What these agents remember, one below the other: {layer: [n * B, *shape]}."""
        stacked = {}
        for layer in network.layers:
            if layer.operation == "gru":
                first = np.zeros((batch, *layer.shape), np.float32)
                own = [self._hidden.get(agent, {}).get(layer.name, first) for agent in agents]
                stacked[layer.name] = np.concatenate(own)
        return stacked


def seen_by(network: Network, agent: str, observations: np.ndarray) -> np.ndarray:
    """Observations [B, *O] of this agent, with its index if it sees that."""
    if not network.indexed_agents:
        return observations
    index = np.tile(network.index_of(agent), (len(observations), 1))
    return np.concatenate([observations, index], axis=1)


def chosen(network: Network, outputs: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The actions [B, *A] that follow from outputs [B, *heads], as `file` says."""
    actions = network.actions
    if isinstance(actions, Numbers):
        return numbers_of(network, outputs)
    legal = actions.legal if mask is None else actions.legal & mask
    values = np.where(legal, outputs, -np.inf).argmax(-1)  # [B, H]
    return (values + actions.start).reshape(-1, *actions.shape)


def numbers_of(network: Network, numbers: np.ndarray) -> np.ndarray:
    """The actions [B, *A] of a Box that follow from numbers [B, D], as `file` says."""
    actions = network.actions
    assert isinstance(actions, Numbers)
    low, high = actions.low, actions.high
    if network.stretch:
        numbers = low + (numbers + 1.0) * (high - low) / 2.0
    if network.clip:
        numbers = np.clip(numbers, low, high)
    return numbers.astype(low.dtype, copy=False).reshape(-1, *actions.shape)


def evaluate(
    network: Network, observations: np.ndarray, hidden: Arrays
) -> tuple[np.ndarray, Arrays]:
    """Outputs [n, ...] of observations [n, *O], and what is remembered after them."""
    values = evaluate_all(network, observations, hidden)
    after = {layer.name: values[layer.name] for layer in network.layers if layer.operation == "gru"}
    return values[network.layers[-1].name], after


def evaluate_all(network: Network, observations: np.ndarray, hidden: Arrays) -> Arrays:
    """What every layer puts out, {layer: [n, ...]}; arguments as of `evaluate`."""
    values = {OBSERVATION: observations}
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        if layer.operation == "gru":
            inputs.append(hidden[layer.name])
        values[layer.name] = _EVALUATE[layer.operation](layer, network.weights, *inputs)
    return values


def _linear(layer: Layer, weights: Arrays, x: np.ndarray) -> np.ndarray:
    return x @ weights[f"{layer.name}.weight"].T + weights[f"{layer.name}.bias"]


def _standardize(layer: Layer, weights: Arrays, x: np.ndarray) -> np.ndarray:
    return (x - weights[f"{layer.name}.mean"]) / weights[f"{layer.name}.deviation"]


def _normalize(layer: Layer, weights: Arrays, x: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.square(x).sum(-1, keepdims=True))
    return x / np.maximum(length, np.float32(LEAST_LENGTH))


def _add(layer: Layer, weights: Arrays, first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    for other in others:
        first = first + (other if other.ndim == first.ndim else other[:, None])
    return first


def _gru(layer: Layer, weights: Arrays, x: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    own = x @ weights[f"{layer.name}.weight_ih"].T + weights[f"{layer.name}.bias_ih"]
    past = hidden @ weights[f"{layer.name}.weight_hh"].T + weights[f"{layer.name}.bias_hh"]
    own_r, own_z, own_n = np.split(own, 3, -1)
    past_r, past_z, past_n = np.split(past, 3, -1)
    r, z = _sigmoid(own_r + past_r), _sigmoid(own_z + past_z)
    n = np.tanh(own_n + r * past_n)
    return (1 - z) * n + z * hidden


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))  # which cannot overflow


_EVALUATE: dict[str, Callable[..., np.ndarray]] = {
    "flatten": lambda layer, weights, x: x.reshape(len(x), -1),
    "linear": _linear,
    "relu": lambda layer, weights, x: np.maximum(x, 0),
    "tanh": lambda layer, weights, x: np.tanh(x),
    "normalize": _normalize,
    "standardize": _standardize,
    "embedding": lambda layer, weights, x: x + weights[f"{layer.name}.weight"],
    "mean_max": lambda layer, weights, x: np.concatenate([x.mean(-2), x.max(-2)], -1),
    "add": _add,
    "gru": _gru,
}
