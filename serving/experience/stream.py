"""From a log to a Redis Stream, and from the stream to other logs.

    delivery = Delivery("experience.sqlite", "redis://127.0.0.1:6379/0")     # a thread
    receive("redis://127.0.0.1:6379/0", "trainer.sqlite", wait_s=1.0)        # what is new

The file is what events are kept in while Redis is away: they go on from where Redis last said that
it has them. So each comes at least once, and since a log takes an event once, those that come twice
change nothing. The stream keeps about the newest `most_events`. Several services may deliver to one
stream.
"""

import json
import logging
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ImportError(
        f'streams need the library redis; pip install "marlserve[serve]" ({error})'
    ) from error

from marlserve.serving.experience.events import opened
from marlserve.serving.experience.log import DELIVERED

STREAM = "marlserve:experience"
_AT_ONCE = 64  # events in an entry of the stream
_LONGEST_PAUSE_S = 5.0
_log = logging.getLogger(__name__)


def address(variables: Mapping[str, str]) -> str:
    """That of Redis by REDIS_URL, or REDIS_HOST and REDIS_PORT; "": neither is set.

    Raises:
        ValueError: for a port that is none.
    """
    url, host = variables.get("REDIS_URL", ""), variables.get("REDIS_HOST", "")
    if url or not host:
        return url
    port = variables.get("REDIS_PORT", "6379")
    if not (port.isdecimal() and int(port) < 2**16):
        raise ValueError(f"REDIS_PORT is {port!r}; allowed is a whole number below 65536")
    return f"redis://{host}:{int(port)}/0"


class Delivery:
    """A thread that takes events from a log to a stream.

    Attributes:
        is_connected: whether it went well the last time.
        delivered: events, since it began.
    """

    def __init__(
        self,
        path: str | Path,
        url: str,
        stream: str = STREAM,
        most_events: int = 1_000_000,
        pause_s: float = 0.2,
    ):
        self.is_connected, self.delivered = False, 0
        self._path, self._stream, self._most_entries = path, stream, most_events // _AT_ONCE + 1
        self._client, self._pause_s = client(url), pause_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._deliver, name="delivery", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; what was not delivered stays in the log."""
        self._closing.set()
        self._thread.join()
        self._client.close()

    def _deliver(self) -> None:
        pause_s = self._pause_s
        while not self._closing.wait(pause_s):
            try:
                connection = opened(self._path)
                try:
                    while self._next(connection) and not self._closing.is_set():
                        pass
                finally:
                    connection.close()
                self.is_connected, pause_s = True, self._pause_s
            except (redis.RedisError, sqlite3.Error) as error:
                if self.is_connected:
                    _log.warning("events are kept in %s: %s", self._path, error)
                self.is_connected, pause_s = False, min(2.0 * pause_s, _LONGEST_PAUSE_S)

    def _next(self, connection: sqlite3.Connection) -> bool:
        """Deliver some; whether there may be more."""
        after = _place(connection, DELIVERED, "0")
        rows = connection.execute(
            "SELECT seq, id, kind, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            (int(after), _AT_ONCE),
        ).fetchall()
        if not rows:
            self._client.ping()
            return False
        events = json.dumps([row[1:] for row in rows])
        self._client.xadd(self._stream, {"events": events}, maxlen=self._most_entries)
        _set_place(connection, DELIVERED, str(rows[-1][0]))
        self.delivered += len(rows)
        return len(rows) == _AT_ONCE


def receive(
    url: str,
    path: str | Path,
    wait_s: float = 0.0,
    most_events: int = 200_000,
    stream: str = STREAM,
) -> int:
    """Put what is new in a stream into a log; how many events that were not there before.

    Args:
        wait_s: for something new, if there is nothing.
        most_events: that the log keeps.

    Raises:
        redis.RedisError: if Redis is away.
        ValueError: for an entry that holds no events.
    """
    source, connection = client(url, timeout_s=wait_s + 1.0), opened(path)
    try:
        place, new, block_ms = _place(connection, stream, "0-0"), 0, int(1000 * wait_s) or None
        while found := _read(source, stream, place, block_ms):
            connection.execute("BEGIN IMMEDIATE")
            for entry, fields in found:
                rows = _rows(entry, fields)
                query = "INSERT OR IGNORE INTO events (id, kind, body) VALUES (?, ?, ?)"
                new += connection.executemany(query, rows).rowcount
                place = entry
            connection.execute(
                "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?", (most_events,)
            )
            _set_place(connection, stream, place)
            connection.execute("COMMIT")
            block_ms = None
        return new
    finally:
        connection.close()
        source.close()


def _read(
    source: redis.Redis, stream: str, after: str, block_ms: int | None
) -> list[tuple[str, dict[str, str]]]:
    """The next entries of a stream; none if there is nothing new."""
    found: Any = source.xread({stream: after}, count=256, block=block_ms)
    return found[0][1] if found else []


def client(url: str, timeout_s: float = 1.0) -> redis.Redis:
    """A client that gives up at once instead of trying for seconds.

    Raises:
        ValueError: for something that is no address of Redis.
    """
    return redis.Redis.from_url(
        url,
        protocol=2,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
    )


def _rows(entry: str, fields: dict[str, str]) -> list[tuple[str, str, str]]:
    try:
        return [(str(x), str(kind), str(body)) for x, kind, body in json.loads(fields["events"])]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"entry {entry} of the stream holds no events: {error!r}") from error


def _place(connection: sqlite3.Connection, name: str, first: str) -> str:
    query = "SELECT place FROM cursors WHERE name = ?"
    found = connection.execute(query, (name,)).fetchone()
    return found[0] if found else first


def _set_place(connection: sqlite3.Connection, name: str, place: str) -> None:
    connection.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (name, place))
