"""Spaces as JSON: `Box`, `Discrete` and `MultiDiscrete` of one axis, and nothing else.

    {"type": "Box", "shape": [10], "dtype": "float32", "low": 0.0, "high": null}
    {"type": "Discrete", "n": 3, "start": 0}
    {"type": "MultiDiscrete", "nvec": [3, 3], "start": [0, 0]}

`low` and `high` are one number, or a flat list in C order; null stands for no bound.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space

_DTYPES = ("float32", "float64", "int8", "int16", "int32", "uint8", "uint16")  # of Box
ActionSpace = Box | Discrete | MultiDiscrete


def to_json(space: Space) -> dict[str, Any]:
    """The space as JSON.

    Raises:
        ValueError: for any other space.
    """
    if isinstance(space, Box) and space.dtype in _DTYPES:
        bounds = {"low": _bounds(space.low), "high": _bounds(space.high)}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, MultiDiscrete) and space.nvec.ndim == 1:
        return {
            "type": "MultiDiscrete",
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
        }
    raise ValueError(
        f"the space is {space}; a policy file can have Discrete, MultiDiscrete of one axis, and "
        f"Box of {_DTYPES}"
    )


def from_json(value: Any) -> ActionSpace:
    """The space that `to_json` wrote.

    Raises:
        ValueError: if it is none.
    """
    try:
        kind = value["type"]
        if kind == "Box":
            shape, dtype = tuple(_counts(value["shape"])), value["dtype"]
            if dtype not in _DTYPES:
                raise ValueError(f"dtype is {dtype!r}; allowed are {_DTYPES}")
            low = _filled(value["low"], shape, dtype, -np.inf)
            return Box(low, _filled(value["high"], shape, dtype, np.inf), dtype=np.dtype(dtype))
        if kind == "Discrete":
            (count,) = _counts([value["n"]])
            return Discrete(count, start=int(value["start"]))
        if kind == "MultiDiscrete":
            return MultiDiscrete(_counts(value["nvec"]), start=value["start"])
        raise ValueError(f"type is {kind!r}; allowed are 'Box', 'Discrete', 'MultiDiscrete'")
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"{value!r} is no space: {error!r}") from error


@dataclass(frozen=True)
class Choices:
    """Actions of H components, each an index.

    Attributes:
        shape: of an action, () for `Discrete`, (H,) for `MultiDiscrete`.
        legal: [H, A] bool, which of A = max values each component has.
        start: [H] int64, what is added to an index.
    """

    shape: tuple[int, ...]
    legal: np.ndarray
    start: np.ndarray

    @property
    def heads(self) -> tuple[int, ...]:
        """Shape of the outputs that choose an action."""
        return self.legal.shape


@dataclass(frozen=True)
class Numbers:
    """Actions of D numbers, with bounds [D] in the dtype of the space."""

    shape: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray

    @property
    def heads(self) -> tuple[int, ...]:
        """Shape of the outputs that are an action."""
        return self.low.shape

    @property
    def is_bounded(self) -> bool:
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())


def actions_of(space: ActionSpace) -> Choices | Numbers:
    """What an evaluator needs to know of an action space."""
    if isinstance(space, Box):
        return Numbers(space.shape, space.low.ravel(), space.high.ravel())
    if isinstance(space, Discrete):
        shape, sizes, start = (), np.array([space.n]), np.array([space.start])
    else:
        shape, sizes, start = space.nvec.shape, space.nvec, space.start
    return Choices(shape, np.arange(sizes.max()) < sizes[:, None], start.astype(np.int64))


def _counts(values: list) -> list[int]:
    if not all(isinstance(x, int) and x > 0 for x in values):
        raise ValueError(f"{values} are no sizes; they must be positive integers")
    return values


def _bounds(values: np.ndarray) -> float | list[float | None] | None:
    numbers = [float(x) if np.isfinite(x) else None for x in values.ravel()]
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _filled(bounds: Any, shape: tuple[int, ...], dtype: str, missing: float) -> np.ndarray:
    many = bounds if isinstance(bounds, list) else [bounds] * prod(shape)
    numbers = [missing if x is None else float(x) for x in many]
    return np.array(numbers, dtype).reshape(shape)
