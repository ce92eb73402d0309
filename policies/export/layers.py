"""The vocabulary of policy files: what a layer can be, and what it needs.

A network is a list of named layers. Each reads the outputs of earlier ones, or OBSERVATION, and
has weights of fixed names; the output of the last one is the network's. Shapes are without the
batch axis: [n] for a vector, [M, F] for M components with F numbers each, such as the servers of a
load balancer. All numbers are float32.

    operation    inputs      weights                         output
    flatten      *O                                          [n]      the same numbers in C order
    linear       [..., I]    weight [n, I], bias [n]         [..., n] weight x + bias
    relu         *O                                          *O       max(x, 0)
    tanh         *O                                          *O
    normalize    [..., n]                                    [..., n] x / max(length of x, 1e-12)
    standardize  [..., n]    mean [n], deviation [n]         [..., n] (x - mean) / deviation
    embedding    [M, F]      weight [M, F]                   [M, F]   x + weight
    mean_max     [M, F]                                      [2 F]    mean, then maximum, over M
    add          *O, ...                                     *O       the sum; all but the first
                                                                      may lack the axis of M
    gru          [..., I]    weight_ih [3 n, I], bias_ih [3 n],       [..., n]
                             weight_hh [3 n, n], bias_hh [3 n]

`gru` keeps its output for the next step of the episode; before the first one it is 0. Its weights
are those of the gates r, z and n, one below the other (Cho et al. 2014, as PyTorch has it):

    r, z = sigmoid(W x + b + V h + c)    n = tanh(W x + b + r * (V h + c))    h = (1 - z) n + z h
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

OBSERVATION = "observation"
LEAST_LENGTH = 1e-12  # by which `normalize` divides at least

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer; `shape` is that of its output."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    shape: Shape


# Of the shapes of the inputs, and the one that is asked for: the output's, and the weights'.
_Rule = Callable[[Sequence[Shape], Shape], tuple[Shape, dict[str, Shape]]]


def _same(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    return inputs[0], {}


def _flatten(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    return (prod(inputs[0]),), {}


def _linear(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    *lead, size = inputs[0]
    return (*lead, shape[-1]), {"weight": (shape[-1], size), "bias": (shape[-1],)}


def _standardize(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    return inputs[0], {"mean": inputs[0][-1:], "deviation": inputs[0][-1:]}


def _embedding(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    components, size = inputs[0]
    return (components, size), {"weight": (components, size)}


def _mean_max(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    _, size = inputs[0]
    return (2 * size,), {}


def _add(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    first = inputs[0]
    for other in inputs[1:]:
        if other not in (first, first[1:]):
            raise ValueError(f"[*{other}] cannot be added to [*{first}]")
    return first, {}


def _gru(inputs: Sequence[Shape], shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    *lead, size = inputs[0]
    n = shape[-1]
    weights = {"weight_ih": (3 * n, size), "weight_hh": (3 * n, n)}
    return (*lead, n), {**weights, "bias_ih": (3 * n,), "bias_hh": (3 * n,)}


OPERATIONS: dict[str, _Rule] = {
    "flatten": _flatten,
    "linear": _linear,
    "relu": _same,
    "tanh": _same,
    "normalize": _same,
    "standardize": _standardize,
    "embedding": _embedding,
    "mean_max": _mean_max,
    "add": _add,
    "gru": _gru,
}


def check(
    layers: Sequence[Layer], weights: Mapping[str, np.ndarray], observation_shape: Shape
) -> None:
    """See that the layers follow from each other, and have the weights that they need.

    Args:
        weights: {"<layer>.<weight>": float32}.

    Raises:
        ValueError: for an unknown operation, an input that is no earlier layer, a name given
            twice, missing, superfluous or misshapen weights, and weights that are not finite.
    """
    shapes: dict[str, Shape] = {OBSERVATION: observation_shape}
    needed: dict[str, Shape] = {}
    for layer in layers:
        if layer.operation not in OPERATIONS:
            raise ValueError(
                f"layer {layer.name!r} has operation {layer.operation!r}; allowed are "
                f"{sorted(OPERATIONS)}"
            )
        if layer.name in shapes:
            raise ValueError(f"there are two layers named {layer.name!r}")
        missing = [name for name in layer.inputs if name not in shapes]
        if missing or not layer.inputs or (len(layer.inputs) > 1 and layer.operation != "add"):
            raise ValueError(
                f"layer {layer.name!r} ({layer.operation}) has inputs {list(layer.inputs)}; before "
                f"it there are {list(shapes)}"
            )
        inputs = [shapes[name] for name in layer.inputs]
        try:
            shape, parts = OPERATIONS[layer.operation](inputs, layer.shape)
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"layer {layer.name!r} ({layer.operation}) cannot have inputs of shapes "
                f"{inputs}: {error}"
            ) from error
        if shape != layer.shape:
            raise ValueError(
                f"layer {layer.name!r} ({layer.operation}) has shape {layer.shape}; of inputs of "
                f"shapes {inputs} it is {shape}"
            )
        shapes[layer.name] = shape
        needed |= {f"{layer.name}.{part}": size for part, size in parts.items()}
    _check_weights(weights, needed)


def _check_weights(weights: Mapping[str, np.ndarray], needed: dict[str, Shape]) -> None:
    if weights.keys() != needed.keys():
        missing, idle = sorted(needed.keys() - weights), sorted(weights.keys() - needed)
        raise ValueError(f"weights {missing} are missing, and {idle} belong to no layer")
    for name, shape in needed.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(
                f"weights {name!r} are {array.dtype} of shape {array.shape}; expected float32 of "
                f"shape {shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"weights {name!r} have values that are not finite")
