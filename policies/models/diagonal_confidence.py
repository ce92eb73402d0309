"""Uncertainty by the diagonal of A alone, for gradients of as many weights as one likes.

As in `full_confidence`, A = ridge * I + sum of phi phi', and the uncertainty is
sqrt(phi' A^-1 phi), but all that is not on the diagonal of A is taken for 0. Features of n rows
are one pair per layer of a network, errors [n, K, O] and inputs [n, C, I]: the gradient of an arm's
output by the layer's weights is their outer product, which is never made.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Factors = list[tuple[Tensor, Tensor]]  # (errors, inputs) of each layer, from the first


class DiagonalConfidence(nn.Module):
    """The diagonal of A for the weights of all layers; `layers` are their shapes, (O, I) each.

    Attributes:
        diagonal_0, diagonal_1, ... [O, I]: of each layer
    """

    SUMS: tuple[str, ...] = ()

    def __init__(self, layers: Sequence[tuple[int, int]], ridge: float):
        super().__init__()
        for index, shape in enumerate(layers):
            self.register_buffer(f"diagonal_{index}", torch.full(shape, float(ridge)))
        self._ridge = ridge

    @property
    def diagonals(self) -> list[Tensor]:
        return list(self.buffers())

    def clear(self) -> None:
        """Forget all that was added."""
        for diagonal in self.diagonals:
            diagonal.fill_(self._ridge)

    def add(self, factors: Factors, arms: Tensor, rewards: Tensor) -> None:
        """Count what was done: errors [R, 1, O] and inputs [R, 1, I] of what was chosen."""
        for diagonal, (errors, inputs) in zip(self.diagonals, factors, strict=True):
            diagonal += errors.squeeze(1).square().T @ inputs.squeeze(1).square()

    def solve(self, mean: float, deviation: float) -> None:
        """Nothing: a diagonal needs no inverse."""

    def variances(self, factors: Factors) -> Tensor:
        """phi' A^-1 phi of all arms that the factors are of, [n, K]."""
        of_layers = (
            ((errors.square() @ diagonal.reciprocal()) * inputs.square()).sum(-1)
            for diagonal, (errors, inputs) in zip(self.diagonals, factors, strict=True)
        )
        return sum(of_layers, torch.zeros(()))

    def chosen_variances(self, factors: Factors, arms: Tensor) -> Tensor:
        """phi' A^-1 phi of the factors of what was chosen, with gradients to them; [R]."""
        return self.variances(factors).squeeze(-1)

    def side_by_side(self, factors: Factors) -> "_Rows":
        """For rows that choose one after the other."""
        return _Rows(self, factors)


class _Rows:
    """Rows that choose one after the other, each adding to a copy of the diagonal."""

    def __init__(self, confidence: DiagonalConfidence, factors: Factors):
        self._diagonals = [diagonal.clone() for diagonal in confidence.diagonals]
        self._squares = [(errors.square(), inputs.square()) for errors, inputs in factors]

    def variances(self, row: int) -> Tensor:
        """phi' A^-1 phi of the arms of this row, [K], after the choices of those before it."""
        of_layers = (
            ((errors[row] @ diagonal.reciprocal()) * inputs[row]).sum(-1)
            for diagonal, (errors, inputs) in zip(self._diagonals, self._squares, strict=True)
        )
        return sum(of_layers, torch.zeros(()))

    def choose(self, row: int, arm: int) -> None:
        """This row takes this arm."""
        for diagonal, (errors, inputs) in zip(self._diagonals, self._squares, strict=True):
            seen = inputs[row, arm if inputs.shape[1] > 1 else 0]
            diagonal.addr_(errors[row, arm], seen)
