"""Noise with a memory, for traces that are drawn."""

import math
from itertools import accumulate

import numpy as np


def autoregressive(rng: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """A stationary Gaussian AR(1) sequence, [count], of mean 0 and variance 1.

    Args:
        memory: how many rows it takes for the autocorrelation to fall to 1/e.
    """
    keep = math.exp(-1.0 / memory)
    fresh = rng.standard_normal(count) * math.sqrt(1.0 - keep * keep)
    fresh[:1] /= math.sqrt(1.0 - keep * keep)  # starts from the stationary law
    return np.array(list(accumulate(fresh.tolist(), lambda value, new: keep * value + new)))
