"""What a log has: decisions and outcomes, which have the id of their decision; see them joined.

    for experience in joined("experience.sqlite"):
        experience.decision["propensity"], experience.outcome["reward"]

An event is logged once: a second one of the same id and kind changes nothing. Bodies are JSON;
those of decisions have at least `time_s`, `action` and `propensity`, those of outcomes `time_s`,
`success` and `reward`.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DECISION, OUTCOME = "decision", "outcome"
Body = dict[str, Any]
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
        seq: grows with the order in which decisions were logged.
    """

    seq: int
    id: str
    decision: Body
    outcome: Body


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
        connection.executescript(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def joined(path: str | Path, after: int = 0) -> Iterator[Experience]:
    """Decisions with their outcomes, in the order of the decisions, from `seq` > `after` on.

    Raises:
        ValueError: if there is no such log.
    """
    for seq, identity, decision, outcome in _selected(
        path,
        "SELECT d.seq, d.id, d.body, o.body FROM events d JOIN events o ON o.id = d.id "
        "WHERE d.kind = ? AND o.kind = ? AND d.seq > ? ORDER BY d.seq",
        (DECISION, OUTCOME, after),
    ):
        yield Experience(seq, identity, json.loads(decision), json.loads(outcome))


def kinds_of(path: str | Path, identity: str) -> dict[str, Body]:
    """What the log has of one id, {kind: body}.

    Raises:
        ValueError: if there is no such log.
    """
    rows = _selected(path, "SELECT kind, body FROM events WHERE id = ?", (identity,))
    return {kind: json.loads(body) for kind, body in rows}


def _selected(path: str | Path, query: str, values: tuple) -> list[tuple]:
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
