"""What a stochastic policy draws its actions from, given the numbers that its network puts out.

`Choices` is for `Discrete` and `MultiDiscrete` spaces, one categorical distribution for each of
their H components; `Normal` is for `Box`, one normal distribution for each number. Both have

    sample() and mode()  ->  actions [n, *C], as `sampling.sequences` wants them
    logp(actions)        ->  [n], the sum over components
    entropy()            ->  [n], the sum over components

`Squashed` is for `Box` too: tanh of normal distributions, with gradients through its samples.
In place of n there may be several axes, for `Choices` and `Squashed`.
"""

import math

import torch
from torch import Tensor, nn

_ILLEGAL = -1e9  # finite: an infinite logit would make the entropy NaN
LOG_STD = (-5.0, 2.0)  # of what is squashed


class Choices:
    """H categorical distributions of at most A values.

    Args:
        logits: [n, H, A].
        legal: [n, H, A] or [H, A] bool; all values if None. Where none of a component is, the
            numbers are finite and have no meaning.
        shape: C, of an action: () for `Discrete`, (H,) for `MultiDiscrete`.
    """

    def __init__(self, logits: Tensor, legal: Tensor | None, shape: tuple[int, ...]):
        if legal is not None:
            logits = logits.masked_fill(~legal, _ILLEGAL)
        self.log_probabilities = logits.log_softmax(-1)
        self._legal, self._shape = legal, shape

    def sample(self) -> Tensor:
        # The largest of the log-probabilities plus Gumbel noise (Gumbel 1954).
        noise = torch.empty_like(self.log_probabilities).exponential_().log()
        return self._actions(self.log_probabilities - noise)

    def mode(self) -> Tensor:
        return self._actions(self.log_probabilities)

    def logp(self, actions: Tensor) -> Tensor:
        index = actions.reshape(*self.log_probabilities.shape[:-1], 1)
        return self.log_probabilities.gather(-1, index).sum((-2, -1))

    def entropy(self) -> Tensor:
        return -(self.log_probabilities.exp() * self.log_probabilities).sum((-2, -1))

    def highest_entropy(self) -> Tensor:
        """The entropy of a uniform choice among the legal values."""
        *lead, components, values = self.log_probabilities.shape
        if self._legal is None:
            return self.log_probabilities.new_full(lead, components * math.log(values))
        counts = self._legal.sum(-1).clamp(min=1)
        return counts.log().sum(-1).expand(lead)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of values [..., n, H, A], summed over components."""
        return (self.log_probabilities.exp() * values).sum((-2, -1))

    def _actions(self, scores: Tensor) -> Tensor:
        return scores.argmax(-1).reshape(*scores.shape[:-2], *self._shape)


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


class Squashed:
    """tanh of independent normal variables: numbers in [-1, 1].

    Args:
        mean: [n, D].
        spread: [n, D], which tanh moves into the range of log deviations.
        shape: C, of an action, with D numbers.
    """

    def __init__(self, mean: Tensor, spread: Tensor, shape: tuple[int, ...]):
        low, high = LOG_STD
        self.mean, self._shape = mean, shape
        self.log_std = low + 0.5 * (high - low) * (torch.tanh(spread) + 1)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Flat actions [n, D], with gradients, and the log of their density [n]."""
        noise = torch.randn_like(self.mean)
        drawn = self.mean + self.log_std.exp() * noise
        logp = -0.5 * noise.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), in a form that does not lose digits (Haarnoja et al. 2018,
        # appendix C).
        logp = logp - 2 * (math.log(2) - drawn - nn.functional.softplus(-2 * drawn))
        return torch.tanh(drawn), logp.sum(-1)

    def sample(self) -> Tensor:
        return self.draw()[0].unflatten(-1, self._shape)

    def mode(self) -> Tensor:
        return torch.tanh(self.mean).unflatten(-1, self._shape)
