"""Returns within the rows of a batch, backwards from each row's end."""

import torch
from torch import Tensor


def lambda_returns(
    rewards: Tensor, next_values: Tensor, goes_on: Tensor, is_last: Tensor, gamma: float, lam: float
) -> Tensor:
    """G_t = r_t + gamma * goes_on_t * ((1 - lam) * v_{t+1} + lam * G_{t+1}), back from each end.

    At the last step of a row, v_{t+1} stands in for the whole bracket. lam = 0 gives the
    one-step target. Steps after the last have no meaning. With v of the policy that acted,
    G_t - v_t is the generalised advantage estimate (Schulman et al. 2016).

    Args:
        rewards: [T, R, ...].
        next_values: [T, R, ...], v_{t+1}.
        goes_on: like rewards; 0 where nothing follows, else 1.
        is_last: [T, R, ...] bool, broadcastable.
        gamma: discount.
        lam: lambda.
    """
    if lam == 0:
        return rewards + gamma * goes_on * next_values
    returns = torch.empty_like(rewards)
    following = next_values[-1]
    for t in reversed(range(len(rewards))):
        mixed = (1 - lam) * next_values[t] + lam * following
        following = rewards[t] + gamma * goes_on[t] * torch.where(is_last[t], next_values[t], mixed)
        returns[t] = following
    return returns
