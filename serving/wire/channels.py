"""Addresses, tokens, certificates and sizes, of both sides.

Everything listens on loopback unless there is a token; a token that leaves the machine wants TLS.
"""

import hmac
from collections.abc import Iterable
from pathlib import Path

import grpc

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MOST_BYTES = 16 * 1024**2  # of a message
_AUTHORIZATION = "authorization"
Metadata = Iterable[tuple[str, str | bytes]]


def options(most_bytes: int = MOST_BYTES) -> list[tuple[str, int]]:
    """Of a channel or a server: sizes, and signs of life while nothing else is said."""
    return [
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", most_bytes),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.so_reuseport", 0),  # a second server at the same port is an error
        ("grpc.use_local_subchannel_pool", 1),
    ]


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine can connect."""
    return address.rpartition(":")[0] in LOOPBACK


def channel(address: str, ca: str = "", most_bytes: int = MOST_BYTES) -> grpc.Channel:
    """A channel, which connects when it is first used.

    Args:
        ca: a file with the certificate that the server's is held to, PEM; "": no TLS.

    Raises:
        ValueError: if the file cannot be read.
    """
    if not ca:
        return grpc.insecure_channel(address, options(most_bytes))
    credentials = grpc.ssl_channel_credentials(_read(ca))
    return grpc.secure_channel(address, credentials, options(most_bytes))


def server_credentials(certificate: str, key: str) -> grpc.ServerCredentials | None:
    """What a server shows; None without TLS.

    Raises:
        ValueError: if only one file is named, or one cannot be read.
    """
    if not certificate and not key:
        return None
    if not (certificate and key):
        raise ValueError(f"TLS takes two files; given are {certificate!r} and {key!r}")
    return grpc.ssl_server_credentials([(_read(key), _read(certificate))])


def bearing(token: str) -> Metadata:
    """What a call shows."""
    return ((_AUTHORIZATION, f"Bearer {token}"),) if token else ()


def shows(metadata: Metadata | None, token: str) -> bool:
    """Whether a call may be answered."""
    if not token:
        return True
    given = dict(metadata or ()).get(_AUTHORIZATION, "")
    given = given if isinstance(given, bytes) else given.encode()
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
