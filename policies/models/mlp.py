"""Feed-forward networks of the off-policy algorithms: one, or two side by side.

`Twin` is for the two critics of SAC and TD3: networks that share nothing, computed in one batched
product per layer, which takes half as many calls.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(num_inputs: int, hidden_sizes: Sequence[int], num_outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between them: [..., num_inputs] -> [..., num_outputs]."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([num_inputs, *hidden_sizes, num_outputs]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Twin(nn.Module):
    """Two networks as `mlp` makes them: [..., num_inputs] -> [2, ..., num_outputs]."""

    def __init__(self, num_inputs: int, hidden_sizes: Sequence[int], num_outputs: int):
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise([num_inputs, *hidden_sizes, num_outputs]):
            bound = 1 / math.sqrt(inputs)  # as nn.Linear begins
            self.weights.append(nn.Parameter(torch.empty(2, inputs, outputs)))
            self.biases.append(nn.Parameter(torch.empty(2, 1, outputs)))
            nn.init.uniform_(self.weights[-1], -bound, bound)
            nn.init.uniform_(self.biases[-1], -bound, bound)

    def forward(self, inputs: Tensor, frozen: bool = False) -> Tensor:
        """Both networks' outputs; `frozen` gives gradients to the inputs only."""
        lead = inputs.shape[:-1]
        values = inputs.reshape(1, -1, inputs.shape[-1]).expand(2, -1, -1)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if frozen:
                weight, bias = weight.detach(), bias.detach()
            values = torch.baddbmm(bias, values, weight)
            values = values if layer == last else torch.relu(values)
        return values.view(2, *lead, values.shape[-1])
