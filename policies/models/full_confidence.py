"""Uncertainty by all of A, and the ridge regression that belongs to it.

Of what was seen, with features phi of F numbers each, A = ridge * I + sum of phi phi'. The
uncertainty of a prediction with features phi is sqrt(phi' A^-1 phi): one standard deviation in
Bayesian linear regression with noise of variance 1 and a prior of variance 1 / ridge.

Features are [n, C, F], for n rows: C = 1 where the K arms share them, each with a matrix of its
own, else C = K, with one matrix for all arms.
"""

import torch
from torch import Tensor, nn


class FullConfidence(nn.Module):
    """M matrices A, M = K for one per arm, M = 1 for one for all.

    Attributes:
        precision [M, F, F] float64: A, as the sums may grow for millions of rounds
        inverse [M, F, F]: A^-1 by `solve`: all that acting needs
    """

    SUMS: tuple[str, ...] = ("precision",)
    precision: Tensor
    inverse: Tensor

    def __init__(self, num_features: int, num_matrices: int, ridge: float):
        super().__init__()
        identity, self._ridge = torch.eye(num_features, dtype=torch.float64), ridge
        self.register_buffer("precision", (ridge * identity).repeat(num_matrices, 1, 1))
        self.register_buffer("inverse", (identity / ridge).float().repeat(num_matrices, 1, 1))

    def clear(self) -> None:
        """Forget all that was added."""
        identity = torch.eye(self.precision.shape[-1], dtype=torch.float64)
        self.precision.copy_(self._ridge * identity)

    def add(self, features: Tensor, arms: Tensor, rewards: Tensor) -> None:
        """Count what was done: features [R, 1, F] of the arms [R], and rewards [R]."""
        features = features.squeeze(1).double()
        for matrix, rows in enumerate(self.rows_by_matrix(arms)):
            self.precision[matrix] += features[rows].T @ features[rows]

    def rows_by_matrix(self, arms: Tensor) -> list[Tensor | slice]:
        """Which of the rows with these arms [R] count for each matrix."""
        number = len(self.inverse)
        return [slice(None)] if number == 1 else [arms == arm for arm in range(number)]

    def solve(self, mean: float, deviation: float) -> None:
        """Make what acting needs; mean and deviation are those of all rewards.

        Raises:
            ValueError: if the numbers of the features are so large that ridge is lost beside them.
        """
        self.inverse.copy_(self.exact_inverse())

    def exact_inverse(self) -> Tensor:
        """A^-1 as float64, or the error of `solve`."""
        factor, failures = torch.linalg.cholesky_ex(self.precision)
        if failures.any():
            largest = self.precision.diagonal(dim1=-2, dim2=-1).max().item()
            raise ValueError(
                f"a feature's sum of squares is {largest:.3g}, beside which ridge = {self._ridge} "
                "is lost; contexts should be of the order of 1"
            )
        return torch.cholesky_inverse(factor)

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

    def side_by_side(self, features: Tensor) -> "_Rows":
        """For rows that choose one after the other."""
        return _Rows(self, features)


class RidgeRegression(FullConfidence):
    """It also predicts: the mean is phi' w, w = A^-1 applied to the sum of phi * reward.

    Attributes:
        moments [M, F, 2] float64: sum of phi * reward, and of phi
        coefficients [M, F]: w by `solve`, of standardised rewards
    """

    SUMS = (*FullConfidence.SUMS, "moments")
    moments: Tensor
    coefficients: Tensor

    def __init__(self, num_features: int, num_matrices: int, ridge: float):
        super().__init__(num_features, num_matrices, ridge)
        shape = (num_matrices, num_features)
        self.register_buffer("moments", torch.zeros(*shape, 2, dtype=torch.float64))
        self.register_buffer("coefficients", torch.zeros(shape))

    def clear(self) -> None:
        super().clear()
        self.moments.zero_()

    def add(self, features: Tensor, arms: Tensor, rewards: Tensor) -> None:
        super().add(features, arms, rewards)
        features = features.squeeze(1).double()
        targets = torch.stack([rewards, torch.ones_like(rewards)], -1).double()
        for matrix, rows in enumerate(self.rows_by_matrix(arms)):
            self.moments[matrix] += features[rows].T @ targets[rows]

    def solve(self, mean: float, deviation: float) -> None:
        inverse = self.exact_inverse()
        moments = (self.moments[..., 0] - mean * self.moments[..., 1]) / deviation
        self.inverse.copy_(inverse)
        self.coefficients.copy_((inverse @ moments.unsqueeze(-1)).squeeze(-1))

    def means(self, features: Tensor) -> Tensor:
        """Predicted standardised rewards of all arms, [n, K]."""
        return (features * self.coefficients).sum(-1)


class _Rows:
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
