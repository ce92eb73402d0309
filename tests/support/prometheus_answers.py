"""Servers: of one answer to every query, of none ever, and of nonsense."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def answering(*values: str) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the list of values that it gives, which may be changed."""
    given = list(values)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            result = [{"metric": {}, "value": [0.0, value]} for value in given]
            body = json.dumps({"status": "success", "data": {"result": result}}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", given
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent() -> Iterator[int]:
    """A port where connections are taken, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def babbling() -> Iterator[int]:
    """A port where whoever asks is told something that is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # it was closed
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"how do you do?\r\n\r\n")

        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
