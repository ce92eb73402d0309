"""What is not published: weights that are no numbers, values out of range, one answer for all.

A policy that always names the same replica, whatever it sees, has collapsed: it would send all
requests there. Told by the entropy of what it names at recent decisions of the log, in which
replicas were not always equally busy.
"""

import numpy as np

from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy

MOST_VALUE = 1e4  # of the reward's -10 / (1 - 0.99), a tenfold
LEAST_ENTROPY = 0.02  # over that of equal shares
_ENOUGH = 100  # observations, to tell a collapse
_AGENT = "agent"


def refusal(file: PolicyFile, observations: np.ndarray) -> str:
    """Why the policy must not be published; "" if it may.

    Args:
        observations: recent ones, [n, *O].
    """
    values = NumpyPolicy(file).outputs({_AGENT: observations})[_AGENT][:, 0]  # [n, R]
    if not np.isfinite(values).all():
        return "its values are not finite"
    if (largest := float(np.abs(values).max())) > MOST_VALUE:
        return f"its values reach {largest:.3g}; allowed is {MOST_VALUE:g}"
    if len(observations) >= _ENOUGH and (share := entropy(values)) < LEAST_ENTROPY:
        return (
            f"it has collapsed: in most of {len(observations)} decisions it names one replica; "
            f"their entropy is {share:.3g} of equal shares', allowed is {LEAST_ENTROPY:g} and more"
        )
    return ""


def entropy(values: np.ndarray) -> float:
    """Of the best replicas by values [n, R], over that of equal shares: from 0 to 1."""
    counts = np.bincount(values.argmax(axis=1), minlength=values.shape[1])
    shares = counts[counts > 0] / len(values)
    return float(-(shares * np.log(shares)).sum() / np.log(values.shape[1]))
