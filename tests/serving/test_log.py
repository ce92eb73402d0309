"""The log: joined by id, each event once, bounded; what a killed process had given it is there."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import log_writer
import pytest
from logged_events import decided, ended, identities

from marlserve.serving.experience.events import (
    DECISION,
    OUTCOME,
    Event,
    joined,
    kinds_of,
    new_ids,
    opened,
)
from marlserve.serving.experience.log import DELIVERED, ExperienceLog


def written(path: Path, events: list[Event], **settings) -> ExperienceLog:
    log = ExperienceLog(path, **{"flush_s": 0.01} | settings)
    for event in events:
        log.put(event)
    log.close()
    return log


def test_outcomes_join_their_decisions_once(tmp_path):
    path = tmp_path / "folder" / "log.sqlite"
    events = [decided(1), decided(2), ended(2, 5.0), ended(2, 6.0), decided(2), ended(9)]
    log = written(path, events)
    assert [(x.id, x.decision["action"], x.outcome["reward"]) for x in joined(path)] == [
        ("d-2", 2, 5.0)
    ]
    assert kinds_of(path, "d-1") == {DECISION: decided(1).body}
    assert kinds_of(path, "d-9") == {OUTCOME: ended(9).body}
    assert kinds_of(path, "d-7") == {}
    assert (log.written, log.num_waiting, log.dropped) == (6, 0, {})


def test_reading_goes_on_where_it_was(tmp_path):
    path = tmp_path / "log.sqlite"
    written(path, [decided(1), ended(1), decided(2), ended(2)])
    first, second = joined(path)
    written(path, [decided(3), ended(3)])  # opened again: what was there stays
    assert [x.id for x in joined(path, after=second.seq)] == ["d-3"]
    assert [x.id for x in joined(path, after=first.seq)] == ["d-2", "d-3"]


def test_what_follows_is_the_next_decision_of_the_same_service(tmp_path):
    path, ours, theirs = tmp_path / "log.sqlite", new_ids(), new_ids()
    first, second, other = next(ours), next(ours), next(theirs)
    events = [Event(x, DECISION, {"name": x}) for x in (first, other, second)]
    events += [Event(x, OUTCOME, {}) for x in (second, other, first)]
    written(path, events)
    assert [(x.id, x.following) for x in joined(path)] == [
        (second, None),
        (other, None),
        (first, {"name": second}),
    ]


def test_the_oldest_make_room(tmp_path):
    path = tmp_path / "log.sqlite"
    log = written(path, [decided(i) for i in range(500)], most_events=100)
    assert identities(path) == [f"d-{i}" for i in range(400, 500)]
    assert log.dropped == {}


def test_what_nobody_took_further_in_time_is_counted(tmp_path):
    path = tmp_path / "log.sqlite"
    log = ExperienceLog(path, most_events=100, flush_s=0.01, is_delivered=True)
    connection = opened(path)
    connection.execute("INSERT INTO cursors VALUES (?, ?)", (DELIVERED, "30"))
    connection.close()
    for i in range(150):
        log.put(decided(i))
    log.close()
    assert log.dropped == {"undelivered": 20}


def test_a_full_queue_loses_and_counts(tmp_path):
    path = tmp_path / "log.sqlite"
    log = ExperienceLog(path, most_waiting=10, flush_s=60.0)
    taken = [log.put(decided(i)) for i in range(15)]
    assert taken == [True] * 10 + [False] * 5
    log.close()
    assert log.dropped == {"queue_full": 5}
    assert len(identities(path)) == 10


def test_much_is_written_before_it_is_time(tmp_path):
    path = tmp_path / "log.sqlite"
    log = ExperienceLog(path, flush_s=60.0)
    for i in range(1000):
        log.put(decided(i))
    end_s = time.monotonic() + 30.0
    while len(identities(path)) < 800:  # the last ones may wait
        assert time.monotonic() < end_s
        time.sleep(0.01)
    log.close()
    assert len(identities(path)) == 1000


def test_events_wait_while_the_file_cannot_be_written(tmp_path):
    """Somebody else holds the file; the queue keeps what comes."""
    path = tmp_path / "log.sqlite"
    log = ExperienceLog(path, flush_s=0.01)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    for i in range(20):
        log.put(decided(i))
    time.sleep(0.1)
    assert log.num_waiting == 20
    holder.execute("ROLLBACK")
    holder.close()
    log.close()
    assert len(identities(path)) == 20


def test_a_file_that_is_taken_away_is_made_anew(tmp_path):
    path = tmp_path / "folder" / "log.sqlite"
    log = ExperienceLog(path, flush_s=0.01)
    log.put(decided(1))
    while log.num_waiting:
        time.sleep(0.01)
    shutil.rmtree(path.parent)
    log.put(decided(2))
    log.close()
    assert identities(path) == ["d-2"]


def test_nothing_is_lost_between_many_threads(tmp_path):
    path = tmp_path / "log.sqlite"
    log = ExperienceLog(path, flush_s=0.005)

    def put(first: int) -> None:
        for i in range(first, first + 500):
            log.put(decided(i))

    threads = [threading.Thread(target=put, args=(500 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert {*identities(path)} == {f"d-{i}" for i in range(2000)}


def test_a_broken_file_is_set_aside(tmp_path):
    path = tmp_path / "log.sqlite"
    path.write_bytes(b"this is no database, and it is long enough to see that" * 50)
    written(path, [decided(1)])
    assert identities(path) == ["d-1"]
    (aside,) = tmp_path.glob("log.sqlite.broken-*")
    assert aside.read_bytes().startswith(b"this is no database")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be a log"):
        ExperienceLog(tmp_path / "file" / "log.sqlite")
    with pytest.raises(ValueError, match="is no log that can be read"):
        list(joined(tmp_path / "none.sqlite"))
    with pytest.raises(ValueError, match="flush_s is 0"):
        ExperienceLog(tmp_path / "log.sqlite", flush_s=0)


@pytest.mark.parametrize("flush_s", [0.05, 0.3])
def test_who_is_killed_loses_no_more_than_the_flush_interval(flush_s, tmp_path):
    path, told = tmp_path / "log.sqlite", tmp_path / "told"
    with told.open("w") as output:
        command = [sys.executable, log_writer.__file__, str(path), str(flush_s)]
        process = subprocess.Popen(command, stdout=output)
        while not (path.exists() and len(told.read_text().splitlines()) > 1000 * flush_s + 300):
            assert process.poll() is None
            time.sleep(0.05)
        # On this clock the process was last seen alive; stopped, it cannot write any more.
        os.kill(process.pid, signal.SIGSTOP)
        killed_s = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    given = dict(line.split() for line in told.read_text().splitlines()[:-1])
    there = {*identities(path)}
    lost = [float(when) for number, when in given.items() if number not in there]
    # A commit is under way for a moment after the interval; this machine may be busy just then.
    assert all(killed_s - when < flush_s + 0.5 for when in lost), lost[:3]
    assert json.loads(sorted(there, key=int)[-1]) + 1 == len(there)  # and what is there is whole


def test_what_was_written_is_moved_on_little_by_little(tmp_path):
    """Into the file, from the one beside it, which so stays small."""
    log = ExperienceLog(tmp_path / "log.sqlite", flush_s=0.001)
    beside, largest = tmp_path / "log.sqlite-wal", 0
    for number in range(20_000):
        log.put(Event(f"d-{number}", DECISION, {"what": "x" * 300}))
        if number % 100 == 0:
            while log.num_waiting:
                time.sleep(0.001)
            largest = max(largest, beside.stat().st_size)
    log.close()
    assert log.written == 20_000
    assert 0 < largest < 2 * 2**20
