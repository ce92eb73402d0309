"""One decision at a time with numpy alone, of whoever brings what is remembered of its episode.

It is to `numpy_policy` what `numba_policy.Decider` is to `NumbaPolicy`, and takes no compiling.
"""

from math import prod

import numpy as np

from marlserve.policies.export.checked import Arrays, checked_observations
from marlserve.policies.export.network import ANYONE, Network, PolicyFile
from marlserve.policies.export.numpy_policy import evaluate_all, seen_by


class NumpyDecider:
    """One network.

    Attributes:
        state_size: S, of what it remembers of an episode, which is the caller's: 0 at first.
    """

    def __init__(self, network: Network):
        self._network, self._file = network, PolicyFile({"": network}, {ANYONE: ""})
        self._memories = [layer for layer in network.layers if layer.operation == "gru"]
        self.state_size = sum(prod(layer.shape) for layer in self._memories)
        self._values: Arrays = {}

    def run(self, agent: str, observation: np.ndarray, state: np.ndarray) -> None:
        """See, and let `value_of` say what all layers put out; `state` [S] is changed.

        Raises:
            ValueError: for another shape, and what is not finite; then `state` is as it was.
        """
        rows = {agent: np.asarray(observation)[None]}
        seen = seen_by(self._network, agent, checked_observations(self._file, rows, None)[agent])
        hidden, end = {}, 0
        for layer in self._memories:
            begin, end = end, end + prod(layer.shape)
            hidden[layer.name] = state[begin:end].reshape(1, *layer.shape)
        self._values = evaluate_all(self._network, seen, hidden)
        if self._memories:
            state[:] = np.concatenate([self._values[x.name].ravel() for x in self._memories])

    def value_of(self, layer: str) -> np.ndarray:
        """A copy of what a layer put out, flat."""
        return self._values[layer].ravel().copy()
