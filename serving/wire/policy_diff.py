"""What changed between two versions of a policy's weights, where that is less than all of them.

An optimizer changes every number, but little: sign, exponent and first digits stay. So of the
exclusive or of both versions, with all first bytes of its numbers in front, then all second ones
and so on, much is zero, and packs well. The manifest has the checksum of what comes out.
"""

import zlib

import numpy as np

_NUMBER = 4  # bytes


def difference(old: bytes, new: bytes) -> bytes | None:
    """What changed, packed; None if it is not less than `new`, or they are of different lengths."""
    if len(old) != len(new) or len(new) % _NUMBER:
        return None
    both = [np.frombuffer(weights, np.uint8) for weights in (old, new)]
    planes = np.bitwise_xor(*both).reshape(-1, _NUMBER).T
    packed = zlib.compress(planes.tobytes(), 1)
    return packed if len(packed) < len(new) else None


def applied(old: bytes, changes: bytes) -> bytes:
    """What `difference` was made of.

    Raises:
        ValueError: if it is not of this length, or broken.
    """
    unpacking = zlib.decompressobj()
    try:
        planes = unpacking.decompress(changes, len(old) + 1)
    except zlib.error as error:
        raise ValueError(f"what changed cannot be unpacked: {error}") from error
    if len(planes) != len(old) or len(old) % _NUMBER:
        raise ValueError(f"what changed is of {len(planes)} bytes, and the policy of {len(old)}")
    changed = np.frombuffer(planes, np.uint8).reshape(_NUMBER, -1).T
    return np.bitwise_xor(np.frombuffer(old, np.uint8), changed.ravel()).tobytes()
