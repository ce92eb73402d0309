"""How uncertain predictions from features are, and how rows that act side by side share that.

Of what was seen, with features phi of F numbers each, A = ridge * I + sum of phi phi'. The
uncertainty of a prediction with features phi is sqrt(phi' A^-1 phi): one standard deviation in
Bayesian linear regression with noise of variance 1 and a prior of variance 1 / ridge.

- `FullConfidence`: A is a matrix for each arm, or one for all of them; it also predicts
- `DiagonalConfidence`: only the diagonal of A, for gradients of as many weights as one likes

Features come in two forms, for n rows and K arms. C = 1 where the arms share their features, each
with a matrix of its own, else C = K:

    full        [n, C, F]
    diagonal    one pair per layer of a network, errors [n, K, O] and inputs [n, C, I]; the
                gradient by the layer's weights is their outer product, which is never made

Rows of a batch act at the same time, so none knows the others' rewards, but what they choose tells
A all that it needs. `side_by_side` therefore takes each row's choice into account in the next ones
(Desautels, Krause, Burdick: Parallelizing exploration-exploitation tradeoffs in Gaussian process
bandit optimization, JMLR 2014), or else all rows with like contexts would try the same arm.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from marlserve.policies.models.masks import best

Factors = list[tuple[Tensor, Tensor]]  # (errors, inputs) of each layer, from the first


class FullConfidence(nn.Module):
    """Ridge regression of the rewards: M matrices, M = K for one per arm, M = 1 for one for all.

    The sums are float64: they may grow for millions of rounds. The rest, which is all that acting
    needs, follows from them by `solve`.

    Attributes:
        precision [M, F, F] float64: A
        moments [M, F, 2] float64: sum of phi * reward, and of phi
        inverse [M, F, F]: A^-1
        coefficients [M, F]: A^-1 applied to the sum of phi * standardised reward
    """

    SUMS = ("precision", "moments")

    def __init__(self, num_features: int, num_matrices: int, ridge: float):
        super().__init__()
        shape, self._ridge = (num_matrices, num_features), ridge
        self.register_buffer("precision", torch.zeros(*shape, num_features, dtype=torch.float64))
        self.register_buffer("moments", torch.zeros(*shape, 2, dtype=torch.float64))
        self.register_buffer("inverse", torch.zeros(*shape, num_features))
        self.register_buffer("coefficients", torch.zeros(shape))
        self.clear()
        self.inverse.copy_(torch.eye(num_features) / ridge)

    def clear(self) -> None:
        """Forget all that was added."""
        self.precision.copy_(self._ridge * torch.eye(self.precision.shape[-1]))
        self.moments.zero_()

    def add(self, features: Tensor, arms: Tensor, rewards: Tensor) -> None:
        """Count what was done: features [R, 1, F] of the arms [R], and rewards [R]."""
        features = features.squeeze(1).double()
        targets = torch.stack([rewards, torch.ones_like(rewards)], -1).double()
        for arm in range(len(self.precision)):
            of_arm = slice(None) if len(self.precision) == 1 else arms == arm
            rows = features[of_arm]
            self.precision[arm] += rows.T @ rows
            self.moments[arm] += rows.T @ targets[of_arm]

    def solve(self, mean: float, deviation: float) -> None:
        """Make inverse and coefficients, of rewards less their mean, in units of the deviation.

        Raises:
            ValueError: if the numbers of the features are so large that ridge is lost beside them.
        """
        factor, failures = torch.linalg.cholesky_ex(self.precision)
        if failures.any():
            largest = self.precision.diagonal(dim1=-2, dim2=-1).max().item()
            raise ValueError(
                f"a feature's sum of squares is {largest:.3g}, beside which ridge = {self._ridge} "
                "is lost; contexts should be of the order of 1"
            )
        inverse = torch.cholesky_inverse(factor)
        moments = (self.moments[..., 0] - mean * self.moments[..., 1]) / deviation
        self.inverse.copy_(inverse)
        self.coefficients.copy_((inverse @ moments.unsqueeze(-1)).squeeze(-1))

    def means(self, features: Tensor) -> Tensor:
        """Predicted standardised rewards of all arms, [n, K]."""
        return (features * self.coefficients).sum(-1)

    def variances(self, features: Tensor) -> Tensor:
        """phi' A^-1 phi of all arms, [n, K]."""
        return (self.images(features) * features).sum(-1)

    def images(self, features: Tensor) -> Tensor:
        """A^-1 phi of all arms, [n, K, F]."""
        if len(self.inverse) == 1:
            return features @ self.inverse[0]
        return torch.einsum("nf,kfg->nkg", features.squeeze(1), self.inverse)

    def chosen_variances(self, features: Tensor, arms: Tensor) -> Tensor:
        """phi' A^-1 phi of features [R, 1, F] of the arms [R], with gradients to them; [R]."""
        inverse = self.inverse[0] if len(self.inverse) == 1 else self.inverse[arms]
        return ((features @ inverse) * features).sum((-2, -1))

    def side_by_side(self, features: Tensor) -> "_FullRows":
        return _FullRows(self, features)


class _FullRows:
    """Rows that choose one after the other, each adding its phi to a copy of A.

    By the formula of Sherman and Morrison, a choice takes u u' from A^-1, where u is A^-1 phi /
    sqrt(1 + phi' A^-1 phi). The copy is kept as these u: a row needs no more than its products
    with them.
    """

    def __init__(self, confidence: FullConfidence, features: Tensor):
        self._features, self._images = features, confidence.images(features)
        self._variances = (self._images * features).sum(-1)
        self._taken = features.new_zeros(len(features), features.shape[-1])  # u of earlier rows
        self._own = len(confidence.inverse) > 1  # matrices per arm: only its own choices count
        if self._own:
            shape = (len(features), len(confidence.inverse))
            self._is_of = torch.zeros(shape, dtype=features.dtype, device=features.device)

    def variances(self, row: int) -> Tensor:
        """phi' A^-1 phi of the arms of this row, [K], after the choices of those before it."""
        along = self._features[row] @ self._taken[:row].T  # [C, row]
        if self._own:
            along = along * self._is_of[:row].T
        self._along = along
        self._now = (self._variances[row] - along.square().sum(-1)).clamp(min=0.0)
        return self._now

    def choose(self, row: int, arm: int) -> None:
        """This row, which was the last one to be asked, takes this arm."""
        image = self._images[row, arm] - self._along[arm] @ self._taken[:row]
        self._taken[row] = image / torch.sqrt(1.0 + self._now[arm])
        if self._own:
            self._is_of[row, arm] = 1.0


class DiagonalConfidence(nn.Module):
    """The diagonal of A for the weights of all layers; `layers` are their shapes, (O, I) each.

    Attributes:
        diagonal_0, diagonal_1, ... [O, I]: of each layer
    """

    SUMS = ()

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
        """Nothing: a diagonal needs no inverse, and it predicts nothing."""

    def variances(self, factors: Factors) -> Tensor:
        """phi' A^-1 phi of all arms that the factors are of, [n, K]."""
        return sum(
            ((errors.square() @ diagonal.reciprocal()) * inputs.square()).sum(-1)
            for diagonal, (errors, inputs) in zip(self.diagonals, factors, strict=True)
        )

    def chosen_variances(self, factors: Factors, arms: Tensor) -> Tensor:
        """phi' A^-1 phi of the factors of what was chosen, with gradients to them; [R]."""
        return self.variances(factors).squeeze(-1)

    def side_by_side(self, factors: Factors) -> "_DiagonalRows":
        return _DiagonalRows(self, factors)


class _DiagonalRows:
    """Rows that choose one after the other, each adding to a copy of the diagonal."""

    def __init__(self, confidence: DiagonalConfidence, factors: Factors):
        self._diagonals = [diagonal.clone() for diagonal in confidence.diagonals]
        self._squares = [(errors.square(), inputs.square()) for errors, inputs in factors]

    def variances(self, row: int) -> Tensor:
        """phi' A^-1 phi of the arms of this row, [K], after the choices of those before it."""
        return sum(
            ((errors[row] @ diagonal.reciprocal()) * inputs[row]).sum(-1)
            for diagonal, (errors, inputs) in zip(self._diagonals, self._squares, strict=True)
        )

    def choose(self, row: int, arm: int) -> None:
        """This row takes this arm."""
        for diagonal, (errors, inputs) in zip(self._diagonals, self._squares, strict=True):
            seen = inputs[row, arm if inputs.shape[1] > 1 else 0]
            diagonal.addr_(errors[row, arm], seen)


def upper_bound_choices(
    means: Tensor, rows: _FullRows | _DiagonalRows, ucb_beta: float, mask: Tensor | None
) -> Tensor:
    """The arms of the largest mean + ucb_beta * uncertainty, row after row, [n].

    Args:
        means: [n, K].
        rows: what `side_by_side` gives for the features of the same rows.
        ucb_beta: standard deviations that are added.
        mask: [n, K] bool, True for arms that may be chosen, or None.
    """
    actions = torch.zeros(len(means), dtype=torch.int64, device=means.device)
    for row in range(len(means)):
        scores = means[row] + ucb_beta * rows.variances(row).sqrt()
        arm = int(best(scores, None if mask is None else mask[row]))
        rows.choose(row, arm)
        actions[row] = arm
    return actions
