"""A region of shared memory, from Python: made, attached to, read and written.

It is a file in /dev/shm, opened and mapped, not `multiprocessing.shared_memory`: up to Python 3.12
merely attaching with that lets its resource tracker delete the region of whoever made it.
"""

import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from marlserve.envs.checks import is_whole
from marlserve.serving.shared_memory import layout
from marlserve.serving.shared_memory.alias import alias_table
from marlserve.serving.shared_memory.slots import ORDERS_MEMORY, Slots

FOLDER = Path("/dev/shm")


class MsgOut(NamedTuple):
    """What the data plane saw, [M] each.

    Attributes:
        number: 1, 2, ...; what lies between two that were read was missed.
        time_ns: when it was written, on the clock `time.monotonic_ns`.
        is_active: servers that take flows.
        ongoing: flows in progress.
        completed: flows, since the beginning.
        statistics_s: of completed flows, and of those in progress, [M, 10]; `sims.reservoir` says
            which.
    """

    number: int
    time_ns: int
    is_active: np.ndarray
    ongoing: np.ndarray
    completed: np.ndarray
    statistics_s: np.ndarray


class MsgIn(NamedTuple):
    """What the controller wants, [M] each; see `alias.alias_table`."""

    number: int
    time_ns: int
    weights: np.ndarray
    odds: np.ndarray
    alias: np.ndarray


class SharedMemoryRegion:
    """One region; `create` or `attach` to it."""

    def __init__(self, name: str, memory: mmap.mmap):
        self.name, self._memory, self._data = name, memory, memoryview(memory)
        try:
            said = layout.checked(self._data)
            if not (ORDERS_MEMORY or said["flags"] & layout.CRC):
                raise ValueError("on this machine Python needs a region with a CRC")
        except ValueError as error:
            self._data.release()
            memory.close()
            raise ValueError(f"{name} is no region: {error}") from error
        self.num_servers, self.ring = said["num_servers"], said["ring"]
        self._owner = said["owner_pid"], said["owner_began"]
        self._beats = [self._word(layout.BEATS + 64 * side) for side in (0, 1)]
        begin, self._ways = layout.HEADER_BYTES, []
        for way, number in ((layout.OUT, self.ring), (layout.IN, 2)):
            size = layout.slot_bytes(self.num_servers, way)
            made = Slots(
                self._data,
                begin,
                size,
                number,
                self._word(layout.WRITTEN + 64 * way),
                bool(said["flags"] & layout.CRC),
                layout.RECORDS[way],
                self.num_servers,
            )
            self._ways.append(made)
            begin += number * size

    @classmethod
    def create(cls, name: str, num_servers: int = 64, ring: int = 8, crc: bool = False) -> Self:
        """Make a region, in place of one whose owner is gone.

        Raises:
            ValueError: for a bad name or number, and if there is one whose owner lives.
        """
        for what, value, low, high in (
            ("num_servers", num_servers, 1, layout.MOST_SERVERS),
            ("ring", ring, 2, layout.MOST_RING),
        ):
            if not is_whole(value, low, high):
                raise ValueError(f"{what} is {value!r}; allowed is {low} to {high}, whole")
        path = _path(name)
        if path.exists() and (owner := _living_owner(name)):
            raise ValueError(f"the region {name} is there already, of process {owner}")
        size = layout.total_bytes(num_servers, ring)
        unfinished = path.with_name(f"{name}.{os.getpid()}")
        file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, size)
            memory = mmap.mmap(file, size)
            header = np.frombuffer(memory, layout.HEADER, 1)
            header["magic"], header["version"] = layout.MAGIC, layout.VERSION
            header["byte_order"] = layout.BYTE_ORDER
            header["num_servers"], header["ring"] = num_servers, ring
            header["flags"] = layout.CRC if crc or not ORDERS_MEMORY else 0
            header["out_bytes"] = layout.slot_bytes(num_servers, layout.OUT)
            header["in_bytes"] = layout.slot_bytes(num_servers, layout.IN)
            header["total_bytes"] = size
            header["owner_pid"], header["owner_began"] = os.getpid(), _began(os.getpid())
            header["ready"] = 1
            del header
            os.rename(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        return cls(name, memory)

    @classmethod
    def attach(cls, name: str) -> Self:
        """To a region that is there.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is not one of this version, or broken.
        """
        file = os.open(_path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(file).st_size
            if size < layout.HEADER_BYTES:
                raise ValueError(f"{name} is no region: it has {size} bytes")
            memory = mmap.mmap(file, size)
        finally:
            os.close(file)
        return cls(name, memory)

    @property
    def owner_is_alive(self) -> bool:
        """Whether the process that made it runs."""
        pid, began = self._owner
        return began != 0 and _began(pid) == began

    @property
    def torn(self) -> int:
        """Copies of messages that were thrown away, because these were written meanwhile."""
        return sum(way.torn for way in self._ways)

    def heartbeat(self, side: int = layout.CONTROLLER) -> None:
        """This side is alive."""
        self._beats[side][0] = time.monotonic_ns()

    def heartbeat_age_s(self, side: int = layout.PLANE) -> float:
        """Since a side was; infinite if it never was."""
        beat_ns = self._beats[side][0]
        return (time.monotonic_ns() - beat_ns) / 1e9 if beat_ns else float("inf")

    def read_msg_out(self) -> MsgOut | None:
        """The newest one; None if it is the one that was read before.

        Raises:
            TimeoutError: if none could be read whole.
        """
        way = self._ways[layout.OUT]
        if not way.read():
            return None
        found = way.records.copy()
        active = found["is_active"] != 0
        rest = found["ongoing"], found["completed"], found["statistics_s"]
        return MsgOut(way.number, way.time_ns, active, *rest)

    def write_msg_out(
        self,
        ongoing: ArrayLike,
        completed: ArrayLike,
        statistics_s: ArrayLike,
        is_active: ArrayLike,
    ) -> int:
        """As a data plane does; the message's number."""
        way = self._ways[layout.OUT]
        way.records["ongoing"], way.records["completed"] = ongoing, completed
        way.records["statistics_s"], way.records["is_active"] = statistics_s, is_active
        return way.write()

    def read_msg_in(self) -> MsgIn | None:
        """As a data plane does; see `read_msg_out`."""
        way = self._ways[layout.IN]
        if not way.read():
            return None
        found = way.records.copy()
        return MsgIn(way.number, way.time_ns, found["weight"], found["odds"], found["alias"])

    def write_msg_in(self, weights: Sequence[float] | np.ndarray) -> int:
        """Weights from now on, with their alias table; the message's number.

        Raises:
            ValueError: for another number of weights, or bad ones.
        """
        odds, alias = alias_table(weights)
        if len(odds) != self.num_servers:
            raise ValueError(f"there are {len(odds)} weights; expected are {self.num_servers}")
        way = self._ways[layout.IN]
        way.records["weight"], way.records["odds"], way.records["alias"] = weights, odds, alias
        return way.write()

    def close(self) -> None:
        """Detach; the region stays."""
        for way in self._ways:
            way.release()
        for view in (*self._beats, self._data):
            view.release()
        self._memory.close()

    def unlink(self) -> None:
        """Remove its name: nobody attaches to it any more."""
        _path(self.name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _word(self, place: int) -> memoryview:
        return self._data[place : place + 8].cast("Q")


def _path(name: str) -> Path:
    if not name or len(name) > 200 or "/" in name or name.startswith("."):
        raise ValueError(f"name is {name!r}; allowed is the name of a file")
    return FOLDER / name


def _living_owner(name: str) -> int:
    """The process that made the region of that name; 0 if it is gone, or it is no region."""
    try:
        with SharedMemoryRegion.attach(name) as found:
            return found._owner[0] if found.owner_is_alive else 0
    except (ValueError, FileNotFoundError):
        return 0


def _began(pid: int) -> int:
    """When a process began, in ticks since the machine did; 0 if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])
