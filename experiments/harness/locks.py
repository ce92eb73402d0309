"""Who may write to a folder. The locks are the operating system's: they end with their process,
however it ends, so that nobody waits for the dead.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

_PATIENCE_S = 60.0


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Write to a folder while no other process does that takes turns, too; may be nested.

    Raises:
        TimeoutError: if another process does not let go of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", is_singleton=True)
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except filelock.Timeout as error:
        raise TimeoutError(
            f"{folder} has been written by another process for {_PATIENCE_S:g} s now"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Write to a folder as the only one. The lock is beside it: <folder>/../.<name>.lock.

    Raises:
        ValueError: if somebody else does; it says who, and since when.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"), thread_local=False)
    holder = folder.with_name(f".{folder.name}.writer")
    try:
        lock.acquire(timeout=0.0)
    except filelock.Timeout as error:
        who = holder.read_text() if holder.exists() else "another process"
        raise ValueError(
            f"{folder} is being written by {who}: wait for it, or stop it first"
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
