"""How messages of one way are written and read: a sequence lock for each slot, without waiting.

Python cannot order its loads and stores. x86 keeps stores in their order, and loads in theirs
(Intel SDM 3A, section 8.2), and CPython does one after another what the program says; elsewhere a
message could be torn and not show it, so that there a region must have a CRC.
"""

import platform
import time
import zlib

import numpy as np

from marlserve.serving.shared_memory import layout

TRIES = 1000
ORDERS_MEMORY = platform.machine() in ("x86_64", "AMD64", "i686")
_ENVELOPE_BYTES = layout.ENVELOPE.itemsize


class Slots:
    """One way of a region.

    Args:
        data: all of it.
        begin: where its slots begin.
        bytes_: of a slot.
        number: of slots.
        written: view of how many messages there were, uint64 words.
        has_crc: whether each message has one.

    Attributes:
        torn: copies that were thrown away, because the message was written meanwhile.
    """

    def __init__(
        self,
        data: memoryview,
        begin: int,
        bytes_: int,
        number: int,
        written: memoryview,
        has_crc: bool,
        records: np.dtype,
        num_records: int,
    ):
        places = range(begin, begin + number * bytes_, bytes_)
        self._slots = [data[place : place + bytes_] for place in places]
        self._words = [slot.cast("Q") for slot in self._slots]
        self._written, self._has_crc = written, has_crc
        self._own = bytearray(bytes_)  # a message in the making, or the one that was read
        self._payload = memoryview(self._own)[8:]
        self._envelope = np.frombuffer(self._own, layout.ENVELOPE, 1)
        self.records = np.frombuffer(self._own, records, num_records, _ENVELOPE_BYTES)
        self._last, self.torn = 0, 0

    @property
    def number(self) -> int:
        """Of the message that was read last; 0: none was."""
        return self._last

    @property
    def time_ns(self) -> int:
        """When it was written, on the clock `time.monotonic_ns`."""
        return int(self._envelope["time_ns"][0])

    def write(self) -> int:
        """Publish `records`; the message's number."""
        number = self._written[0] + 1
        slot, words = self._of(number)
        envelope = self._envelope
        envelope["number"], envelope["time_ns"] = number, time.monotonic_ns()
        envelope["crc"] = self._crc() if self._has_crc else 0
        odd = words[0] | 1  # already, if a writer was killed here
        words[0] = odd
        slot[8:] = self._payload
        words[0] = odd + 1
        self._written[0] = number
        return number

    def read(self) -> bool:
        """Copy the newest message into `records`; False if it is the one that was read before.

        Raises:
            TimeoutError: if none was whole within TRIES: its writer does nothing else than write.
        """
        for _ in range(TRIES):
            number = self._written[0]
            if number in (0, self._last):
                return False
            slot, words = self._of(number)
            before = words[0]
            if not before & 1:
                self._own[:] = slot
                if words[0] == before and self._is_whole(number):
                    self._last = int(self._envelope["number"][0])
                    return True
            self.torn += 1
        raise TimeoutError(f"no message was whole within {TRIES} tries")

    def release(self) -> None:
        """Let go of the memory."""
        for view in (*self._words, *self._slots, self._written):
            view.release()

    def _of(self, number: int) -> tuple[memoryview, memoryview]:
        place = number % len(self._slots)
        return self._slots[place], self._words[place]

    def _is_whole(self, number: int) -> bool:
        if self._envelope["number"][0] < number:  # of a lap before
            return False
        return not self._has_crc or self._envelope["crc"][0] == self._crc()

    def _crc(self) -> int:
        return zlib.crc32(self._own[_ENVELOPE_BYTES:], zlib.crc32(self._own[8:24]))
