"""The log: events go to a bounded queue, and a thread of its own writes them to a SQLite file.

    log = ExperienceLog("experience.sqlite")
    log.put(Event(decision.id, DECISION, {...}))    # never waits
    log.close()                                      # writes what is left

What waits is written after `flush_s`, and before if it is much: little by little, a busy service is
never held up for long. Whoever is killed loses at most what came since, and what the disk took
longer for. The file has the newest `most_events`. What was lost is counted in `dropped`, by why:
`queue_full`, since the file could not be written for long; `undelivered`, since it was full before
a `stream` had taken them.
"""

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from pydantic_core import to_json

from marlserve.envs import checks
from marlserve.serving.experience.events import Event, opened

DELIVERED = "delivered"  # the cursor of who takes events further
_AT_ONCE = 128  # events in a statement
_log = logging.getLogger(__name__)


class ExperienceLog:
    """See the module.

    Attributes:
        dropped: {why: events}.
        written: events, since it was opened.

    Raises:
        ValueError: for a bad value, and if the file cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        most_events: int = 200_000,
        most_waiting: int = 50_000,
        flush_s: float = 0.2,
        is_delivered: bool = False,
    ):
        self.most_events, self.most_waiting, self.flush_s = most_events, most_waiting, flush_s
        checks.whole(self, "most_events", 1, 10**9)
        checks.whole(self, "most_waiting", 1, 10**7)
        checks.number(self, "flush_s", 0.001, 60.0)
        self.path, self.dropped, self.written = Path(path), Counter[str](), 0
        self._is_delivered = is_delivered
        self._waiting: deque[Event] = deque()
        self._is_due, self._closing = threading.Event(), threading.Event()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _sound(self.path).close()
        except (OSError, sqlite3.Error) as error:
            raise ValueError(f"{path} cannot be a log: {error}") from error
        self._thread = threading.Thread(target=self._write, name="experience log", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Events that are not written yet."""
        return len(self._waiting)

    def put(self, event: Event) -> bool:
        """Log an event; false if it is lost."""
        if len(self._waiting) >= self.most_waiting:
            self.dropped["queue_full"] += 1
            return False
        self._waiting.append(event)
        if len(self._waiting) >= _AT_ONCE and not self._is_due.is_set():
            self._is_due.set()
        return True

    def close(self) -> None:
        """Write what is left, if the file can be written, and end."""
        self._closing.set()
        self._is_due.set()
        self._thread.join()
        if self._waiting:
            self.dropped["queue_full"] += len(self._waiting)

    def _write(self) -> None:
        connection = None
        while True:
            self._is_due.wait(self.flush_s)
            self._is_due.clear()
            is_last = self._closing.is_set()
            try:
                if connection is not None and not self.path.exists():  # somebody took it away
                    connection.close()
                    connection = None
                if connection is None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    connection = opened(self.path)
                self._flush(connection)
            except (OSError, sqlite3.Error) as error:  # such as a full disk: the next time, anew
                _log.warning("events wait, since the log cannot be written: %s", error)
                if connection is not None:
                    connection.close()
                connection = None
                self._closing.wait(self.flush_s)  # however much waits
            if is_last:
                break
        if connection is not None:
            connection.close()

    def _flush(self, connection: sqlite3.Connection) -> None:
        count = len(self._waiting)
        if not count:
            return
        taken = [self._waiting[i] for i in range(count)]
        connection.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, count, _AT_ONCE):
                _insert(connection, taken[start : start + _AT_ONCE])
            lost = self._trim(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        for _ in range(count):
            self._waiting.popleft()
        self.written += count
        if lost:
            self.dropped["undelivered"] += lost

    def _trim(self, connection: sqlite3.Connection) -> int:
        """Keep the newest; how many of the others nobody had taken further."""
        (newest,) = connection.execute("SELECT max(seq) FROM events").fetchone()
        until = (newest or 0) - self.most_events
        if until <= 0:
            return 0
        query = "SELECT place FROM cursors WHERE name = ?"
        place = connection.execute(query, (DELIVERED,)).fetchone()
        after = int(place[0]) if place else 0
        query, lost = "SELECT count(*) FROM events WHERE seq > ? AND seq <= ?", 0
        if self._is_delivered and after < until:
            (lost,) = connection.execute(query, (after, until)).fetchone()
        connection.execute("DELETE FROM events WHERE seq <= ?", (until,))
        return lost


def _insert(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    """In one statement: between any two, the interpreter changes threads."""
    rows = ", ".join(["(?, ?, ?)"] * len(events))
    values = [x for each in events for x in (each.id, each.kind, to_json(each.body).decode())]
    connection.execute(f"INSERT OR IGNORE INTO events (id, kind, body) VALUES {rows}", values)


def _sound(path: Path) -> sqlite3.Connection:
    """The log at this path; one that is broken is set aside."""
    try:
        return opened(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
        _log.error("%s is broken (%s); it is now %s", path, error, aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.rename(aside)
        return opened(path)
