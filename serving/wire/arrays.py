"""Arrays as messages: dtype, shape, and raw little-endian bytes in C order."""

from math import prod

import numpy as np

from marlserve.serving.wire import trainer_pb2 as pb

_DTYPES: dict[str, pb.DType] = {
    "float32": pb.FLOAT32,
    "float64": pb.FLOAT64,
    "int8": pb.INT8,
    "int16": pb.INT16,
    "int32": pb.INT32,
    "int64": pb.INT64,
    "uint8": pb.UINT8,
    "uint16": pb.UINT16,
}


def message_of(values: np.ndarray) -> pb.Array:
    """The array as a message.

    Raises:
        ValueError: for a dtype that does not travel.
    """
    name = values.dtype.name
    if name not in _DTYPES:
        raise ValueError(f"the array is of {name}; allowed are {sorted(_DTYPES)}")
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return pb.Array(dtype=_DTYPES[name], shape=values.shape, data=little.tobytes(order="C"))


def array_of(
    message: pb.Array, name: str, shape: tuple[int, ...], dtype: np.dtype | str
) -> np.ndarray:
    """The message as an array, which cannot be written to.

    Args:
        name: what it is, for errors.
        shape, dtype: what it must have.

    Raises:
        ValueError: for any other shape, dtype or number of bytes, and numbers that are not finite.
    """
    wanted = np.dtype(dtype)
    if message.dtype != _DTYPES[wanted.name]:
        known = {code: key for key, code in _DTYPES.items()}
        given = known.get(message.dtype, f"of unknown dtype {message.dtype}")
        raise ValueError(f"{name} are {given}; they must be {wanted.name}")
    if tuple(message.shape) != shape:
        raise ValueError(f"{name} have shape {list(message.shape)}; it must be {list(shape)}")
    size = prod(shape) * wanted.itemsize
    if len(message.data) != size:
        raise ValueError(f"{name} have {len(message.data)} bytes; of their shape it is {size}")
    values = np.frombuffer(message.data, wanted.newbyteorder("<")).reshape(shape)
    if wanted.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} have values that are not finite")
    return values
