"""Standardised inputs: every number less its mean so far, in units of its deviation so far.

Networks learn slowly from inputs that hardly vary, and one `ridge` cannot fit inputs of many
scales. The moments are buffers: they are saved, and given to env runners, with the weights.
"""

import torch
from torch import Tensor, nn

_CONSTANT = 1e-6  # a deviation below which an input is taken for a constant


class RunningMoments(nn.Module):
    """Mean and deviation of all rows so far, by Chan's parallel update.

    Attributes:
        mean, deviation [d]: 0 and 1 before the first row; the deviation of a constant is 1
        count, exact_mean [d], squares [d]: float64, from which they follow
    """

    SUMS = ("count", "exact_mean", "squares")
    mean: Tensor
    deviation: Tensor
    count: Tensor
    exact_mean: Tensor
    squares: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("exact_mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def observe(self, rows: Tensor) -> None:
        """Take rows [n, d] into account."""
        if not len(rows):
            return
        rows = rows.double()
        total = self.count + len(rows)
        difference = rows.mean(0) - self.exact_mean
        self.squares += (rows - rows.mean(0)).square().sum(0)
        self.squares += difference.square() * self.count * len(rows) / total
        self.exact_mean += difference * len(rows) / total
        self.count.copy_(total)
        deviation = (self.squares / total).sqrt()
        self.mean.copy_(self.exact_mean)
        self.deviation.copy_(deviation.where(deviation > _CONSTANT, torch.ones_like(deviation)))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [..., d], standardised."""
        return (rows - self.mean) / self.deviation
