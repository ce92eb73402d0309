"""Fragments that wait on the disk, while there is no trainer and no room in memory.

A file each, in the order of their names; those of an earlier run of the program are sent, too.
"""

import os
from pathlib import Path
from threading import Lock

from google.protobuf.message import DecodeError

from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract

_SUFFIX = ".fragment"


class Spill:
    """See the module; `len()` is how many there are. One thread takes, and one at a time puts.

    Raises:
        ValueError: if the folder cannot be made.
    """

    def __init__(self, folder: Path, most_bytes: int):
        self._folder, self._most_bytes = folder, most_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"spill_folder {folder} cannot be made: {error}") from error
        self._files = sorted(folder.glob(f"*{_SUFFIX}"))
        self._bytes = sum(path.stat().st_size for path in self._files)
        self._next = int(self._files[-1].stem) + 1 if self._files else 0
        self._lock = Lock()  # of `_bytes`

    def __len__(self) -> int:
        return len(self._files)

    def put(self, fragment: pb.Fragment) -> bool:
        """Keep a fragment; false if there is no room for it."""
        data = fragment.SerializeToString()
        if self._bytes + len(data) > self._most_bytes:
            return False
        path = self._folder / f"{self._next:020d}{_SUFFIX}"
        unfinished = path.with_suffix(".part")
        try:
            unfinished.write_bytes(data)
            os.replace(unfinished, path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            return False
        with self._lock:
            self._bytes += len(data)
        self._next += 1
        self._files.append(path)
        return True

    def take(self, most_steps: int, contract: Contract) -> tuple[list[pb.Fragment], int]:
        """The oldest ones, of about so many steps, and how many were broken or of other spaces;
        all of them are gone from the disk."""
        taken: list[pb.Fragment] = []
        steps, unreadable = 0, 0
        while self._files and steps < most_steps:
            path = self._files.pop(0)
            fragment = pb.Fragment()
            try:
                data = path.read_bytes()
                path.unlink()
                with self._lock:
                    self._bytes -= len(data)
                fragment.ParseFromString(data)
                steps += len(contract.steps_of(fragment))
            except (OSError, DecodeError, ValueError):
                unreadable += 1
                continue
            taken.append(fragment)
        return taken, unreadable
