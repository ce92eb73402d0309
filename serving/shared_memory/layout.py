"""The bytes of a region, as numpy reads them. `lb_shm.h` describes what they are for."""

import numpy as np

MAGIC, BYTE_ORDER, VERSION = 0x4C52424C, 0x01020304, 1
HEADER_BYTES = 384
MOST_SERVERS, MOST_RING = 4096, 1024
CRC = 1  # a flag
PLANE, CONTROLLER = 0, 1  # sides
OUT, IN = 0, 1  # ways

_SIZES = ("magic", "byte_order", "version", "num_servers", "ring", "flags", "out_bytes", "in_bytes")
_WORDS = ("total_bytes", "owner_pid", "owner_began", "ready")
HEADER = np.dtype(
    [(name, "u4") for name in _SIZES]
    + [(name, "u8") for name in _WORDS]
    + [("pad0", "u1", 64), ("beat_ns", "u8", (2, 8)), ("written", "u8", (2, 8))]
)
BEATS, WRITTEN = 128, 256  # where the last two are; numbers of a side, or a way, are 64 apart
ENVELOPE = np.dtype(
    [(name, "u8") for name in ("sequence", "number", "time_ns")] + [("crc", "u4"), ("pad", "u4")]
)
SERVER = np.dtype(
    [("completed", "u8"), ("ongoing", "u4"), ("is_active", "u4"), ("statistics_s", "f4", (10,))]
)
CHOICE = np.dtype([("weight", "f4"), ("odds", "f4"), ("alias", "u4")])
RECORDS = {OUT: SERVER, IN: CHOICE}


def slot_bytes(num_servers: int, way: int) -> int:
    """Of one message with its envelope."""
    return -(-(ENVELOPE.itemsize + num_servers * RECORDS[way].itemsize) // 64) * 64


def total_bytes(num_servers: int, ring: int) -> int:
    """Of a region."""
    return HEADER_BYTES + ring * slot_bytes(num_servers, OUT) + 2 * slot_bytes(num_servers, IN)


def checked(data: memoryview) -> dict[str, int]:
    """What the header of a region says, but for the last two fields.

    Raises:
        ValueError: if it is of another kind or version, contradicts itself or the size of the file,
            or is not whole yet.
    """
    if len(data) < HEADER_BYTES:
        raise ValueError(f"a region has {HEADER_BYTES} bytes at least; it has {len(data)}")
    header = np.frombuffer(bytes(data[:HEADER_BYTES]), HEADER)
    said = {name: int(header[name][0]) for name in (*_SIZES, *_WORDS)}
    if said["ready"] != 1:
        raise ValueError("the region is not whole; whoever makes it is not done, or was killed")
    for name, expected in (("magic", MAGIC), ("byte_order", BYTE_ORDER), ("version", VERSION)):
        if said[name] != expected:
            raise ValueError(f"{name} is {said[name]:#x}; expected is {expected:#x}")
    servers, ring = said["num_servers"], said["ring"]
    for name, low, high in (
        ("num_servers", 1, MOST_SERVERS),
        ("ring", 2, MOST_RING),
        ("flags", 0, CRC),
    ):
        if not low <= said[name] <= high:
            raise ValueError(f"{name} is {said[name]}; allowed is {low} to {high}")
    for name, expected in (
        ("out_bytes", slot_bytes(servers, OUT)),
        ("in_bytes", slot_bytes(servers, IN)),
        ("total_bytes", total_bytes(servers, ring)),
    ):
        if said[name] != expected:
            raise ValueError(f"{name} is {said[name]}; of {servers} servers it is {expected}")
    if said["total_bytes"] != len(data):
        raise ValueError(f"the file has {len(data)} bytes; it says {said['total_bytes']}")
    return said
