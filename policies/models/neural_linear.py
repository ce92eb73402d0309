"""The RLModule of NeuralLinear: ridge regression of the rewards on what networks make of contexts.

    phi          (h1/|h1|, ..., hn/|hn|) / sqrt(n) and 1, of the last hidden layers h of n networks
    A, w         ridge * I + sum of phi phi', and A^-1 applied to the sum of phi * reward
    mean         phi' w
    uncertainty  sqrt(phi' A^-1 phi)

The regression fits all rounds at once; the networks' own last layers, learned step by step, would
lag behind it, and serve only to learn the others. What was never tried has an uncertainty of
sqrt(2 / ridge), as phi is sqrt(2) long.

`bandit` has the shapes, and what acts and learns.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from marlserve.policies.models.bandit import BanditModule
from marlserve.policies.models.full_confidence import RidgeRegression


class NeuralLinearModule(BanditModule):
    """`model_config` holds "num_networks", beside what `BanditModule` reads."""

    @property
    def num_networks(self) -> int:
        return self.model_config["num_networks"]

    def make_confidence(self) -> RidgeRegression:
        num_features = self.num_networks * self.model_config["hidden_sizes"][-1] + 1
        num_matrices = 1 if self.context_per_arm else int(self.action_space.n)
        return RidgeRegression(num_features, num_matrices, self.model_config["ridge"])

    def features(self, contexts: Tensor, arms: Tensor | None = None) -> Tensor:
        """phi of contexts [n, C, d]: [n, C, F]; arms that share a context share it."""
        layers = [normalize(network[:-1](contexts), dim=-1) for network in self.networks]
        return pad(torch.cat(layers, -1) / math.sqrt(len(layers)), (0, 1), value=1.0)

    def means(self, contexts: Tensor) -> Tensor:
        return self.confidence.means(self.features(contexts))
