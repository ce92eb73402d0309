"""How actions are drawn from what a network puts out, and with which chance.

Choices: of logits, each component is drawn from the softmax of its legal values; of action values
it is the largest legal one. Numbers are normal, as a `Noise` says, or those of the network if there
is none. A share `epsilon` of components and of numbers is drawn from all alike, in place of that.
"""

from math import exp, log, nan, pi, tanh
from random import Random

import numpy as np

_LOG_ROOT = 0.5 * log(2.0 * pi)


def choice_of(
    outputs: list[float],
    sizes: list[int],
    legal: np.ndarray | None,
    is_drawn: bool,
    epsilon: float,
    random: Random,
) -> tuple[list[int], float]:
    """The components of an action, and the logarithm of their chance.

    Args:
        outputs: [H, A], flat.
        sizes: how many of its A each component has, [H].
        legal: [H, A] bool, what may be chosen, at least one value of each component; None: all.
        is_drawn: whether outputs are logits; else they are action values.
    """
    action, chance = [], 0.0
    draw, width = _drawn if is_drawn else _greedy, len(outputs) // len(sizes)
    for component, size in enumerate(sizes):
        first = component * width
        if legal is None:
            index, own = draw(outputs[first : first + size], epsilon, random)
        else:
            indices = legal[component].nonzero()[0].tolist()
            place, own = draw([outputs[first + index] for index in indices], epsilon, random)
            index = indices[place]
        action.append(index)
        chance += own
    return action, chance


def numbers_of(
    means: np.ndarray, log_deviations: np.ndarray, squash: str, epsilon: float, random: Random
) -> tuple[np.ndarray, float]:
    """Numbers [D] float32 as a network would put them out, and the logarithm of their density,
    which is NaN where they are squashed: nobody asks.

    Args:
        means, log_deviations: [D].
        squash: see `Noise`.
    """
    if epsilon and random.random() < epsilon:
        return np.array([random.uniform(-1.0, 1.0) for _ in means], np.float32), nan
    numbers, density = [], 0.0
    for mean, log_deviation in zip(means.tolist(), log_deviations.tolist(), strict=True):
        drawn = random.gauss(0.0, 1.0)
        numbers.append(mean + exp(log_deviation) * drawn)
        density -= 0.5 * drawn * drawn + log_deviation + _LOG_ROOT
    if squash == "tanh":
        numbers = [tanh(number) for number in numbers]
    elif squash == "clip":
        numbers = [min(max(number, -1.0), 1.0) for number in numbers]
    return np.array(numbers, np.float32), nan if squash else density


def _drawn(values: list[float], epsilon: float, random: Random) -> tuple[int, float]:
    most = max(values)
    weights = [exp(value - most) for value in values]
    total = sum(weights)
    if epsilon:
        share = epsilon * total / len(values)
        weights = [(1.0 - epsilon) * weight + share for weight in weights]
    left, index = random.random() * total, 0
    while left >= weights[index] and index < len(weights) - 1:
        left -= weights[index]
        index += 1
    if epsilon:
        return index, log(weights[index] / total)
    return index, values[index] - most - log(total)


def _greedy(values: list[float], epsilon: float, random: Random) -> tuple[int, float]:
    best = values.index(max(values))
    index = random.randrange(len(values)) if random.random() < epsilon else best
    chance = epsilon / len(values) + (1.0 - epsilon if index == best else 0.0)
    return index, log(chance)
