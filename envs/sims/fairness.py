"""How evenly a load is spread over M servers.

Every measure takes loads [..., M], non-negative and finite, and gives one float64 for each row,
[...]. A load is whatever should be equal: jobs per core, or a server's mean flow duration. What is
already fair stays so at any scale: all loads equal is every measure's optimum, and so are a
single server (M = 1) and an idle system (all loads zero), by definition where a formula would
divide by zero. `MEASURES` has them by name and says which way each points.

A fair system may still be slow: no measure here notices if all servers are equally overloaded.

All raise ValueError for a negative or non-finite load, and for M = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def jain_index(loads: np.ndarray) -> np.ndarray:
    """(sum x)^2 / (M sum x^2), in [1/M, 1]; 1 is fair. If k servers share all, k/M.

    Jain, Chiu, Hawe: A quantitative measure of fairness and discrimination for resource
    allocation in shared computer systems, DEC-TR-301, 1984.
    """
    x = _relative(loads)
    return x.sum(-1) ** 2 / (x.shape[-1] * (x * x).sum(-1))


def coefficient_of_variation(loads: np.ndarray) -> np.ndarray:
    """sd(x) / mean(x) with the population sd, in [0, sqrt(M - 1)]; 0 is fair.

    It orders as Jain's index does, which is 1 / (1 + cv^2) (Jain et al., 1984).
    """
    x = _relative(loads)
    return x.std(-1) / x.mean(-1)


def max_min(loads: np.ndarray) -> np.ndarray:
    """min x / max x, in [0, 1]; 1 is fair, 0 if a server idles while another works.

    How near an allocation comes to the max-min fair one of equal demands: Bertsekas, Gallager,
    Data Networks, 1992, section 6.5.2.
    """
    return _relative(loads).min(-1)


def max_mean(loads: np.ndarray) -> np.ndarray:
    """max x / mean x, in [1, M]; 1 is fair. The makespan over that of a perfect split.

    The load imbalance factor of parallel computing: Pearce, Gamblin, de Supinski, Schulz, Amato,
    Quantifying the effectiveness of load balance algorithms, ICS 2012, have it as max/mean - 1.
    """
    return 1.0 / _relative(loads).mean(-1)


def product_fairness(loads: np.ndarray) -> np.ndarray:
    """prod_j (x_j / max_k x_k), in [0, 1]; 1 is fair, 0 if a server idles while another works.

    Yao, Ding, Clausen: Multi-agent reinforcement learning for network load balancing in data
    center, CIKM 2022: to maximise it is enough to minimise the makespan.
    """
    return _relative(loads).prod(-1)


def variance(loads: np.ndarray) -> np.ndarray:
    """mean((x - mean x)^2), in [0, max(x)^2 / 4], in the square of the load's unit; 0 is fair."""
    return _checked(loads).var(-1)


def exp_variance(loads: np.ndarray) -> np.ndarray:
    """exp(-variance(x)), in [0, 1]; 1 is fair. Only useful for loads of the order of 1.

    One of the rewards of the code of Yao et al., 2022, there with a factor for loads in seconds.
    """
    return np.exp(-variance(loads))


def value_range(loads: np.ndarray) -> np.ndarray:
    """max x - min x, in [0, max x], in the load's unit; 0 is fair."""
    x = _checked(loads)
    return x.max(-1) - x.min(-1)


def gini(loads: np.ndarray) -> np.ndarray:
    """sum_ij |x_i - x_j| / (2 M^2 mean x), in [0, 1 - 1/M]; 0 is fair.

    From the sorted loads in O(M log M): sum_i (2i - M - 1) x_(i) / (M sum x), i = 1..M. Gini,
    Variabilita e mutabilita, 1912; Dorfman, A formula for the Gini coefficient, 1979.
    """
    x = np.sort(_relative(loads), -1)
    size = x.shape[-1]
    return x @ np.arange(1.0 - size, size, 2.0) / (size * x.sum(-1))


@dataclass(frozen=True)
class Measure:
    """A function [..., M] -> [...], and which way it points."""

    function: Callable[[np.ndarray], np.ndarray]
    larger_is_fairer: bool


MEASURES = {
    "jain_index": Measure(jain_index, larger_is_fairer=True),
    "coefficient_of_variation": Measure(coefficient_of_variation, larger_is_fairer=False),
    "max_min": Measure(max_min, larger_is_fairer=True),
    "max_mean": Measure(max_mean, larger_is_fairer=False),
    "product_fairness": Measure(product_fairness, larger_is_fairer=True),
    "variance": Measure(variance, larger_is_fairer=False),
    "exp_variance": Measure(exp_variance, larger_is_fairer=True),
    "value_range": Measure(value_range, larger_is_fairer=False),
    "gini": Measure(gini, larger_is_fairer=False),
}


def _checked(loads: np.ndarray) -> np.ndarray:
    x = np.asarray(loads, dtype=np.float64)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"loads have shape {x.shape}; expected [..., M] with at least one server")
    # Two reductions, no temporaries: NaN fails both comparisons.
    if not (x.min(initial=0.0) >= 0.0 and x.max(initial=0.0) < np.inf):
        where = np.argwhere(~((x >= 0.0) & (x < np.inf)))[0]
        raise ValueError(
            f"load at index {where.tolist()} is {x[tuple(where)]}; expected finite and non-negative"
        )
    return x


def _relative(loads: np.ndarray) -> np.ndarray:
    """Loads over their largest, so that no sum or square overflows; an idle row becomes ones."""
    x = _checked(loads)
    peak = x.max(-1, keepdims=True)
    idle = peak == 0.0
    return np.where(idle, 1.0, x / np.where(idle, 1.0, peak)) if idle.any() else x / peak
