"""What a stochastic policy draws its actions from, given the numbers that its network puts out.

`Choices` is for `Discrete` and `MultiDiscrete` spaces, one categorical distribution for each of
their H components; `Normal` is for `Box`, one normal distribution for each number. Both have

    sample() and mode()  ->  actions [n, *C], as `sampling.sequences` wants them
    logp(actions)        ->  [n], the sum over components
    entropy()            ->  [n], the sum over components
"""

import math

import torch
from torch import Tensor

_ILLEGAL = -1e9  # finite: an infinite logit would make the entropy NaN


class Choices:
    """H categorical distributions of at most A values.

    Args:
        logits: [n, H, A].
        legal: [n, H, A] or [H, A] bool; all values if None. At least one of each component is.
        shape: C, of an action: () for `Discrete`, (H,) for `MultiDiscrete`.
    """

    def __init__(self, logits: Tensor, legal: Tensor | None, shape: tuple[int, ...]):
        if legal is not None:
            logits = logits.masked_fill(~legal, _ILLEGAL)
        self.log_probabilities = logits.log_softmax(-1)
        self._shape = shape

    def sample(self) -> Tensor:
        # The largest of the log-probabilities plus Gumbel noise (Gumbel 1954).
        noise = torch.empty_like(self.log_probabilities).exponential_().log()
        return self._actions(self.log_probabilities - noise)

    def mode(self) -> Tensor:
        return self._actions(self.log_probabilities)

    def logp(self, actions: Tensor) -> Tensor:
        index = actions.reshape(*self.log_probabilities.shape[:2], 1)
        return self.log_probabilities.gather(-1, index).sum((1, 2))

    def entropy(self) -> Tensor:
        return -(self.log_probabilities.exp() * self.log_probabilities).sum((1, 2))

    def _actions(self, scores: Tensor) -> Tensor:
        return scores.argmax(-1).reshape(len(scores), *self._shape)


class Normal:
    """Independent normal distributions with the same deviation in every state.

    Args:
        mean: [n, D].
        log_std: [D].
        shape: C, of an action, with D numbers.
    """

    def __init__(self, mean: Tensor, log_std: Tensor, shape: tuple[int, ...]):
        self.mean, self.log_std, self._shape = mean, log_std, shape

    def sample(self) -> Tensor:
        noise = torch.randn_like(self.mean)
        return (self.mean + self.log_std.exp() * noise).reshape(len(self.mean), *self._shape)

    def mode(self) -> Tensor:
        return self.mean.reshape(len(self.mean), *self._shape)

    def logp(self, actions: Tensor) -> Tensor:
        z = (actions.reshape(self.mean.shape) - self.mean) * torch.exp(-self.log_std)
        return -0.5 * z.square().sum(1) - (self.log_std + 0.5 * math.log(2 * math.pi)).sum()

    def entropy(self) -> Tensor:
        total = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return total.expand(len(self.mean))
