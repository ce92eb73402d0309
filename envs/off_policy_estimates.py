"""What another policy would have got, from what was logged: off-policy estimates.

    weights = importance_weights(target, logged)          # chances of what was done, [n] each
    ips(rewards, weights), snips(rewards, weights)
    model = reward_model(contexts, actions, rewards, num_actions)                  # [n, R]
    doubly_robust(rewards, weights, actions, model, target_of_all)

Each gives the mean reward of the target policy. `ips` is unbiased if all that the target does had
some chance (Horvitz and Thompson 1952); `snips` divides by the weights' sum, and has a bias of
order 1 / n and mostly less variance (Swaminathan and Joachims 2015); `doubly_robust` corrects a
model of the rewards by what it gets wrong, and is unbiased if chances or model are right (Dudik,
Langford and Li 2011). Their 95 % intervals are Student's, of the terms that they are means of, so
they hold for many requests of comparable weight: `effective_samples`, (sum w)^2 / sum w^2, tells
how many that is, and below about a hundred no interval is to be trusted. Requests count as
independent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

_QUANTILE = 0.975
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class OffPolicyEstimate:
    """A mean reward, the ends of its 95 % interval, and of how many samples it is worth."""

    value: float
    low: float
    high: float
    effective_samples: float


def importance_weights(target: ArrayLike, logged: ArrayLike) -> Numbers:
    """How many times likelier the target policy is to do what was done, [n].

    Args:
        target: its chance of the logged action, [n].
        logged: the chance that the action had, [n].

    Raises:
        ValueError: for chances that are none, a logged one of 0, and fewer than 2 of them.
    """
    wanted, had = np.asarray(target, float), np.asarray(logged, float)
    if wanted.shape != had.shape or wanted.ndim != 1 or len(wanted) < 2:
        raise ValueError(
            f"chances have shapes {wanted.shape} and {had.shape}; expected is [n] both"
        )
    if not ((wanted >= 0.0) & (wanted <= 1.0)).all():
        raise ValueError("a chance of the target policy is not in [0, 1]")
    if not ((had > 0.0) & (had <= 1.0)).all():
        raise ValueError("a logged chance is not in (0, 1]")
    return wanted / had


def effective_samples(weights: Numbers) -> float:
    """Kish's: as many equal weights have this variance; 0 if all are 0."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def ips(rewards: ArrayLike, weights: Numbers) -> OffPolicyEstimate:
    """Inverse propensity scores: the mean of weight times reward."""
    return _of_terms(weights * _checked(rewards, weights), weights)


def snips(rewards: ArrayLike, weights: Numbers) -> OffPolicyEstimate:
    """Self-normalised: the mean of weight times reward over that of the weight; its interval by the
    delta method.

    Raises:
        ValueError: if the target policy does nothing of what was done.
    """
    values, total = _checked(rewards, weights), weights.mean()
    if not total:
        raise ValueError("all weights are 0: the target policy does nothing of what was logged")
    value = float((weights * values).mean() / total)
    return _of_terms(value + weights * (values - value) / total, weights)


def doubly_robust(
    rewards: ArrayLike,
    weights: Numbers,
    actions: ArrayLike,
    model: Numbers,
    target: Numbers,
) -> OffPolicyEstimate:
    """What a model expects of the target policy, corrected by what it got wrong.

    Args:
        actions: that were done, [n].
        model: expected rewards of all actions, [n, R]; not fitted to the same request, see
            `reward_model`.
        target: the target policy's chances of all actions, [n, R].
    """
    values, done = _checked(rewards, weights), np.asarray(actions, int)
    if model.shape != target.shape or model.ndim != 2 or len(model) != len(values):
        raise ValueError(
            f"model and target have shapes {model.shape} and {target.shape}; expected is "
            f"[{len(values)}, R] both"
        )
    wrong = values - model[np.arange(len(done)), done]
    return _of_terms((target * model).sum(axis=1) + weights * wrong, weights)


def reward_model(
    contexts: ArrayLike,
    actions: ArrayLike,
    rewards: ArrayLike,
    num_actions: int,
    folds: int = 5,
    ridge: float = 1.0,
) -> Numbers:
    """Expected rewards of all actions, [n, R]: a ridge regression for each action on the contexts,
    [n, F], cross-fitted, so that no request's own reward is in what is expected of it."""
    seen, done, values = (
        np.asarray(contexts, float),
        np.asarray(actions),
        np.asarray(rewards, float),
    )
    inputs = np.column_stack([seen, np.ones(len(seen))])
    penalty = ridge * np.eye(inputs.shape[1])
    penalty[-1, -1] = 1e-9  # the level is free
    expected, fold_of = np.empty((len(inputs), num_actions)), np.arange(len(inputs)) % folds
    for fold in range(folds):
        others, own = fold_of != fold, fold_of == fold
        level = values[others].mean()
        for action in range(num_actions):
            rows = others & (done == action)
            x, y = inputs[rows], values[rows] - level
            coefficients = np.linalg.solve(x.T @ x + penalty, x.T @ y)
            expected[own, action] = level + inputs[own] @ coefficients
    return expected


def _checked(rewards: ArrayLike, weights: Numbers) -> Numbers:
    values = np.asarray(rewards, float)
    if values.shape != weights.shape:
        raise ValueError(f"rewards have shape {values.shape}; expected is {weights.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a reward is not finite")
    return values


def _of_terms(terms: Numbers, weights: Numbers) -> OffPolicyEstimate:
    value, count = float(terms.mean()), len(terms)
    reach = float(stdtrit(count - 1, _QUANTILE) * terms.std(ddof=1) / np.sqrt(count))
    return OffPolicyEstimate(value, value - reach, value + reach, effective_samples(weights))
