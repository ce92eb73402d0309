"""Alias tables: a server by weights, from one random number, in the same time for any number of
servers (Walker 1977; made in linear time as by Vose 1991, IEEE Trans. Softw. Eng. 17, p. 972).

    odds, alias = alias_table(weights)           # [M], [M]
    j = int(u * M); server = j if u * M - j < odds[j] else alias[j]
"""

import numpy as np
from numpy.typing import ArrayLike


def alias_table(weights: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The table of weights, [M], which need not sum to 1.

    Raises:
        ValueError: for weights that are negative, not finite, or all 0.
    """
    given = np.asarray(weights, float)
    if given.ndim != 1 or not np.isfinite(given).all() or (given < 0.0).any() or given.sum() <= 0.0:
        raise ValueError(f"weights are {given.tolist()}; allowed are numbers >= 0, not all 0")
    share = given / given.max()
    share *= len(given) / share.sum()
    alias = np.arange(len(share), dtype=np.uint32)
    small = [j for j, x in enumerate(share) if x < 1.0]
    large = [j for j, x in enumerate(share) if x >= 1.0]
    while small and large:
        less, more = small.pop(), large.pop()
        alias[less] = more
        share[more] -= 1.0 - share[less]
        (small if share[more] < 1.0 else large).append(more)
    share[[*small, *large]] = 1.0  # but for rounding they are
    return share.astype(np.float32), alias
