"""Servers that answer nobody until they are told to, and remember who came where."""

import socket
import threading
import time

PATIENCE_S = 10.0
_GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class HeldServers:
    """So many servers on loopback.

    Attributes:
        order: the server of each request, in the order of arrival.
    """

    def __init__(self, number: int):
        self.order: list[int] = []
        self._held: list[tuple[int, socket.socket]] = []
        self._listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
        self.ports = [each.getsockname()[1] for each in self._listening]
        for index, listening in enumerate(self._listening):
            threading.Thread(target=self._accept, args=(index, listening), daemon=True).start()

    def arrived(self, number: int) -> list[int]:
        """`order`, once so many have come."""
        until_s = time.monotonic() + PATIENCE_S
        while len(self.order) < number:
            assert time.monotonic() < until_s, f"{len(self.order)} came, not {number}"
            time.sleep(0.001)
        return self.order

    def answer(self, answer: bytes = _GOOD) -> None:
        """Everybody who waits."""
        held, self._held = self._held, []
        for _, connection in held:
            connection.sendall(answer)
            connection.close()

    def close(self) -> None:
        for listening in self._listening:
            listening.close()

    def _accept(self, index: int, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.recv(4096)
            self._held.append((index, connection))
            self.order.append(index)


def request(port: int) -> socket.socket:
    """Under way to a balancer."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    return connection
