"""Alias tables: a server by weights, from one random number, in the same time for any number of
servers (Walker 1977; made in linear time as by Vose 1991, IEEE Trans. Softw. Eng. 17, p. 972).

    odds, alias = alias_table(weights)           # [M], [M]
    j = int(u * M); server = j if u * M - j < odds[j] else alias[j]
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def alias_table(weights: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The table of weights, [M], which need not sum to 1.

    Raises:
        ValueError: for weights that are negative, not finite, or all 0.
    """
    array = np.asarray(weights, float)
    given = array.tolist()  # of few numbers a list is faster than an array
    good = array.ndim == 1 and all(0.0 <= x < math.inf for x in given)
    if not good or not (most := max(given, default=0.0)):
        raise ValueError(f"weights are {given}; allowed are numbers >= 0, not all 0")
    given = [x / most for x in given]  # so that no sum is infinite
    scale = len(given) / sum(given)
    share, alias = [x * scale for x in given], list(range(len(given)))
    small = [j for j, x in enumerate(share) if x < 1.0]
    large = [j for j, x in enumerate(share) if x >= 1.0]
    while small and large:
        less, more = small.pop(), large.pop()
        alias[less] = more
        share[more] -= 1.0 - share[less]
        (small if share[more] < 1.0 else large).append(more)
    for j in (*small, *large):
        share[j] = 1.0  # but for rounding it is
    return np.array(share, np.float32), np.array(alias, np.uint32)
