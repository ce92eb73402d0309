"""The RLModule of NeuralUCB: a network predicts rewards, its gradient tells how sure they are.

    f            the network's output for the arm, with weights theta
    phi          grad_theta f / sqrt(width of the last hidden layer)
    A            ridge * I + sum of phi phi' over all rounds, or the diagonal of it alone
    mean         f
    uncertainty  sqrt(phi' A^-1 phi)

"covariance" is "full", as in the paper's algorithm, for networks of at most `MAX_FULL_WEIGHTS`
weights, or "diagonal", as in its experiments. What was never tried has an uncertainty of some 0.2
to 0.4 / sqrt(ridge), with two hidden layers of 64.

`bandit` has the shapes, and what acts and learns.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import gymnasium
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from marlserve.policies.models.bandit import BanditModule, context_shape
from marlserve.policies.models.diagonal_confidence import DiagonalConfidence, Factors
from marlserve.policies.models.full_confidence import FullConfidence

COVARIANCES = ("diagonal", "full")
MAX_FULL_WEIGHTS = 1_000  # the inverse of a matrix so large takes some 0.1 s, once per update


def layer_shapes(
    space: gymnasium.spaces.Box, num_arms: int, hidden_sizes: Sequence[int]
) -> list[tuple[int, int]]:
    """(O, I) of the weights of each layer of the network; the last input, a 1, is for the bias."""
    num_contexts, size = context_shape(space, num_arms)
    sizes = [size, *hidden_sizes, num_arms if num_contexts == 1 else 1]
    return [(outputs, inputs + 1) for inputs, outputs in pairwise(sizes)]


class NeuralUCBModule(BanditModule):
    """`model_config` holds "covariance", beside what `BanditModule` reads."""

    def make_confidence(self) -> FullConfidence | DiagonalConfidence:
        config, num_arms = self.model_config, int(self.action_space.n)
        layers = layer_shapes(self.observation_space, num_arms, config["hidden_sizes"])
        if config["covariance"] == "diagonal":
            return DiagonalConfidence(layers, config["ridge"])
        num_weights = sum(outputs * inputs for outputs, inputs in layers)
        return FullConfidence(num_weights, 1, config["ridge"])

    def means(self, contexts: Tensor) -> Tensor:
        return self.networks[0](contexts).flatten(1)

    def features(self, contexts: Tensor, arms: Tensor | None = None) -> Tensor | Factors:
        """phi: for the diagonal, as its two factors per layer; for all of A, [n, K, F]."""
        factors = self._gradient_factors(contexts, arms)
        if self.model_config["covariance"] == "diagonal":
            return factors
        products = (errors.unsqueeze(-1) * inputs.unsqueeze(-2) for errors, inputs in factors)
        return torch.cat([product.flatten(-2) for product in products], -1)

    def _gradient_factors(self, contexts: Tensor, arms: Tensor | None) -> Factors:
        """The two factors of phi per layer, by propagating each output's error back.

        The gradient of an output by the weights of a layer is the outer product of the output's
        derivative by the layer's sums, [n, K, O], and the layer's inputs, [n, C, I].
        """
        layers = [layer for layer in self.networks[0] if isinstance(layer, nn.Linear)]
        inputs = [contexts]
        for layer in layers[:-1]:
            inputs.append(torch.relu(layer(inputs[-1])))
        last = layers[-1]
        if self.context_per_arm:
            errors = contexts.new_ones(*contexts.shape[:2], 1)
        elif arms is None:
            errors = torch.eye(last.out_features, device=contexts.device)
            errors = errors.expand(len(contexts), -1, -1)
        else:
            errors = one_hot(arms, last.out_features).unsqueeze(1).to(contexts.dtype)
        factors = [(errors / math.sqrt(last.in_features), inputs[-1])]
        for layer in reversed(layers[1:]):
            errors, values = factors[0]  # values are outputs of a ReLU
            factors.insert(0, ((errors @ layer.weight) * (values > 0), inputs[-1 - len(factors)]))
        return [(errors, pad(values, (0, 1), value=1.0)) for errors, values in factors]
