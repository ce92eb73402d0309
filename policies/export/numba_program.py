"""A network as the flat arrays that `numba_kernel` runs."""

from dataclasses import dataclass
from math import prod

import numpy as np

from marlserve.policies.export import numba_kernel as kernel
from marlserve.policies.export.layers import OBSERVATION, Layer, Shape
from marlserve.policies.export.network import Network

_CODES = {
    "linear": kernel.LINEAR,
    "relu": kernel.RELU,
    "tanh": kernel.TANH,
    "normalize": kernel.NORMALIZE,
    "standardize": kernel.STANDARDIZE,
    "embedding": kernel.SHIFT,
    "mean_max": kernel.MEAN_MAX,
    "add": kernel.ADD,
    "gru": kernel.GRU,
}
_WEIGHTS = {  # in the order of the fields W0, W1, ...
    "linear": ("weight", "bias"),
    "standardize": ("mean", "deviation"),
    "embedding": ("weight",),
    "gru": ("weight_ih", "bias_ih", "weight_hh", "bias_hh"),
}


@dataclass(frozen=True)
class Program:
    """What the kernel takes, see there; `places` is where each layer's outputs will be in `work`,
    and `output` where those of the last one will be."""

    rows: np.ndarray  # [L, FIELDS] int64
    weights: np.ndarray  # [W] float32
    work_size: int
    state_size: int
    places: dict[str, int]
    output: int


def program_of(network: Network) -> Program:
    """Give every layer its place."""
    shape = network.seen_shape
    place: dict[str, int] = {OBSERVATION: 0}  # in work
    shapes: dict[str, Shape] = {OBSERVATION: shape}
    work_size, state_size = prod(shape), 0
    rows: list[np.ndarray] = []
    weights = _Weights()
    for layer in network.layers:
        first = layer.inputs[0]
        shapes[layer.name], place[layer.name] = layer.shape, place[first]
        if layer.operation == "flatten":
            continue  # the same numbers
        if layer.operation == "add":
            for other in layer.inputs[1:]:
                row = _row(layer, shapes[first], place[layer.name], work_size)
                row[kernel.SECOND], row[kernel.INPUTS] = place[other], prod(shapes[other])
                rows.append(row)
                place[layer.name] = work_size
                work_size += prod(layer.shape)
            continue
        row = _row(layer, shapes[first], place[first], work_size)
        for index, part in enumerate(_WEIGHTS.get(layer.operation, ())):
            row[kernel.W0 + index] = weights.stored(network.weights[f"{layer.name}.{part}"], layer)
        rows.append(row)
        place[layer.name] = work_size
        work_size += prod(layer.shape)
        if layer.operation == "gru":
            row[kernel.STATE] = state_size
            state_size += prod(layer.shape)
            work_size += 6 * layer.shape[-1]  # the gates
    empty = np.zeros((0, kernel.FIELDS), np.int64)
    output = place[network.layers[-1].name]
    arrays = np.array(rows) if rows else empty, weights.all()
    return Program(*arrays, work_size, state_size, place, output)


def _row(layer: Layer, shape: Shape, at: int, out: int) -> np.ndarray:
    """The fields that all layers have; `shape` is that of the first input."""
    row = np.zeros(kernel.FIELDS, np.int64)
    row[kernel.OPERATION], row[kernel.FIRST], row[kernel.OUT] = _CODES[layer.operation], at, out
    row[kernel.INPUTS] = (shape or (1,))[-1]
    # Of `mean_max`, what it reads: all its rows become one.
    of = shape if layer.operation == "mean_max" else layer.shape
    row[kernel.ROWS], row[kernel.SIZE] = prod(of[:-1]), (of or (1,))[-1]
    return row


class _Weights:
    """All weights, one after the other."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._size = 0

    def stored(self, array: np.ndarray, layer: Layer) -> int:
        """Where it begins; matrices are turned over, so that sums run along rows."""
        is_matrix = layer.operation in ("linear", "gru")
        self._parts.append((array.T if is_matrix else array).ravel())
        self._size += array.size
        return self._size - array.size

    def all(self) -> np.ndarray:
        return np.concatenate([*self._parts, np.zeros(0, np.float32)])
