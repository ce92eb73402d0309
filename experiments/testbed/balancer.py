"""A balancer as a process on loopback, from `start` to `stop`; it can be started again."""

import socket
import subprocess
import time
from abc import ABC, abstractmethod
from typing import Self

BACKEND = "servers"  # the name of what is behind it
_START_S = 30.0


class Balancer(ABC):
    """One process.

    Attributes:
        port: where it takes flows.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """That runs it.

        Raises:
            ImportError: without the wheel that has its binary.
        """

    @abstractmethod
    def flags(self) -> list[str]:
        """That tell a controller where it is."""

    def start(self) -> None:
        """Begin, and wait until it takes connections; errors as of `command`.

        Raises:
            TimeoutError: if it does not.
        """
        self.process = subprocess.Popen(self.command())
        until_s = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until_s:
                    raise TimeoutError(f"{' '.join(self.command())} does not start") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """At once, with all of its flows."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def flags_of(given: dict[str, object]) -> list[str]:
    """["--name", "value", ...]"""
    return [str(word) for name, value in given.items() for word in (f"--{name}", value)]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """One that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
