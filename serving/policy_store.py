"""Versions of policy files on disk: published whole or not at all, and rolled back.

    store = PolicyStore("models")
    version = store.publish(file)            # "7"; what is served from now on, unless pinned
    store.current()                          # ("7", False)
    store.read("7")                          # with its checksum seen to
    store.roll_back("5")                     # and stay there: pinned
    store.release()                          # the newest is served again

`models/versions/7/` is a policy file, and `models/current.json` says which one is served. Several
processes may use one store.
"""

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from filelock import FileLock

from marlserve.envs import checks
from marlserve.policies import export
from marlserve.policies.export.network import PolicyFile

_CURRENT = "current.json"


class Current(NamedTuple):
    """What is served; "" if nothing is."""

    version: str
    is_pinned: bool


class PolicyStore:
    """See the module.

    Args:
        keep: how many versions there are at most, the one that is served included.

    Raises:
        ValueError: if the folder cannot be made.
    """

    def __init__(self, folder: str | Path, keep: int = 10):
        self.keep = keep
        checks.whole(self, "keep", 2, 10_000)
        self.folder = Path(folder)
        self._versions = self.folder / "versions"
        self._lock = FileLock(self.folder / ".lock")
        self.prepare()

    def prepare(self) -> None:
        """Make the folders, if they are not there.

        Raises:
            ValueError: if that cannot be.
        """
        try:
            self._versions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{self.folder} cannot be a store of policies: {error}") from error

    def versions(self) -> list[str]:
        """All there are, the oldest first."""
        found = [path.name for path in self._versions.glob("*") if path.name.isdecimal()]
        return sorted(found, key=int)

    def current(self) -> Current:
        """What is to be served.

        Raises:
            ValueError: if the file that says so is broken.
        """
        path = self.folder / _CURRENT
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return Current(str(said["version"]), bool(said["pinned"]))
        except FileNotFoundError:
            return Current("", False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} does not say what is served: {error!r}") from error

    def read(self, version: str) -> PolicyFile:
        """One version.

        Raises:
            ValueError: if there is none, or it is broken.
        """
        if not version.isdecimal():
            raise ValueError(f"version is {version!r}; allowed is a number of {self.versions()}")
        return export.read(self._versions / version)

    def published_s(self, version: str) -> float:
        """When, in seconds since 1970; 0 if there is no such version."""
        try:
            return (self._versions / version / "policy.json").stat().st_mtime
        except OSError:
            return 0.0

    def publish(self, file: PolicyFile) -> str:
        """Add a version, and serve it unless another one is pinned; its name.

        Raises:
            ValueError: if the store cannot be written.
        """
        self.prepare()
        try:
            with self._lock:
                version = str(1 + max(map(int, self.versions()), default=0))
                export.save(file, self._versions / version)
                current = self._readable_current()
                if not current.is_pinned:
                    current = Current(version, False)
                    self._serve(current)
                for old in self.versions()[: -self.keep]:
                    if old != current.version:
                        shutil.rmtree(self._versions / old, ignore_errors=True)
        except OSError as error:
            raise ValueError(f"{self.folder} cannot be written: {error}") from error
        return version

    def roll_back(self, version: str) -> None:
        """Serve this version until `release`.

        Raises:
            ValueError: if there is none, it is broken, or the store cannot be written.
        """
        self.read(version)
        self._change(Current(version, True))

    def release(self) -> str:
        """Serve the newest version, and those to come; its name, "" if there is none.

        Raises:
            ValueError: if the store cannot be written.
        """
        newest = (["", *self.versions()])[-1]
        self._change(Current(newest, False))
        return newest

    def _change(self, current: Current) -> None:
        try:
            with self._lock:
                self._serve(current)
        except OSError as error:
            raise ValueError(f"{self.folder} cannot be written: {error}") from error

    def _serve(self, current: Current) -> None:
        """Say so, at once and durably."""
        unfinished = self.folder / f".{_CURRENT}.{uuid4().hex}"
        text = json.dumps({"version": current.version, "pinned": current.is_pinned})
        try:
            with unfinished.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self.folder / _CURRENT)
        finally:
            unfinished.unlink(missing_ok=True)

    def _readable_current(self) -> Current:
        """As `current`; what is broken is written anew."""
        try:
            return self.current()
        except ValueError:
            return Current("", False)
