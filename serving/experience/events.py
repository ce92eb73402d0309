"""What a log has: decisions and outcomes, which have the id of their decision; see them joined.

    for experience in joined("experience.sqlite"):
        experience.decision["propensity"], experience.outcome["reward"]

An event is logged once: a second one of the same id and kind changes nothing. Bodies are JSON;
those of decisions have at least `time_s`, `action` and `propensity`, those of outcomes `time_s`,
`success` and `reward`.
"""

import itertools
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DECISION, OUTCOME = "decision", "outcome"
Body = dict[str, Any]
SERVICE_DIGITS = 12  # that ids of one service begin with
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (id, kind)
);
CREATE TABLE IF NOT EXISTS cursors (name TEXT PRIMARY KEY, place TEXT NOT NULL);
"""


class Event(NamedTuple):
    """One half of an experience."""

    id: str
    kind: str
    body: Body


class Experience(NamedTuple):
    """A decision whose outcome is known.

    Attributes:
        seq: grows with the order in which outcomes were logged.
        following: the next decision of the same service, by then or since; None: none yet.
    """

    seq: int
    id: str
    decision: Body
    outcome: Body
    following: Body | None


def opened(path: str | Path) -> sqlite3.Connection:
    """The log, to read and write, made if there is none.

    Raises:
        sqlite3.Error: if it cannot be.
    """
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None)
    try:
        # Who is killed loses nothing that was committed; only a power cut may take the latest.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Moving what was written into the file takes a core for 1 ms, not for 4: whoever decides on
        # the same core waits no longer than that.
        connection.execute("PRAGMA wal_autocheckpoint = 250")
        connection.executescript(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def new_ids() -> Iterator[str]:
    """Ids of one service: they begin alike, and no other service's do."""
    service, numbers = os.urandom(SERVICE_DIGITS // 2).hex(), itertools.count()
    return (f"{service}-{number:x}" for number in numbers)


def joined(path: str | Path, after: int = 0) -> Iterator[Experience]:
    """Decisions with their outcomes, in the order of the outcomes, from `seq` > `after` on.

    Raises:
        ValueError: if there is no such log.
    """
    next_one = (
        "SELECT n.body FROM events n WHERE n.seq > d.seq AND n.kind = :decision "
        "AND substr(n.id, 1, :digits) = substr(d.id, 1, :digits) ORDER BY n.seq LIMIT 1"
    )
    rows = _selected(
        path,
        f"SELECT o.seq, d.id, d.body, o.body, ({next_one}) FROM events o "
        "JOIN events d ON d.id = o.id AND d.kind = :decision "
        "WHERE o.kind = :outcome AND o.seq > :after ORDER BY o.seq",
        {"decision": DECISION, "outcome": OUTCOME, "after": after, "digits": SERVICE_DIGITS},
    )
    for seq, identity, decision, outcome, after_it in rows:
        following = None if after_it is None else json.loads(after_it)
        yield Experience(seq, identity, json.loads(decision), json.loads(outcome), following)


def kinds_of(path: str | Path, identity: str) -> dict[str, Body]:
    """What the log has of one id, {kind: body}.

    Raises:
        ValueError: if there is no such log.
    """
    rows = _selected(path, "SELECT kind, body FROM events WHERE id = :id", {"id": identity})
    return {kind: json.loads(body) for kind, body in rows}


def _selected(path: str | Path, query: str, values: Body) -> list[tuple]:
    try:
        connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise ValueError(f"{path} is no log that can be read: {error}") from error
    try:
        return connection.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise ValueError(f"{path} is no log that can be read: {error}") from error
    finally:
        connection.close()
