"""Events reach other logs by a real server, however often it is away, and count once."""

import time

import pytest
import redis
import redis_server
from logged_events import decided, ended, identities

from marlserve.serving.experience.events import joined, opened
from marlserve.serving.experience.log import ExperienceLog
from marlserve.serving.experience.stream import STREAM, Delivery, client, receive

PATIENCE_S = 30.0


def until(condition) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.02)


@pytest.fixture
def log(tmp_path):
    made = ExperienceLog(tmp_path / "service.sqlite", flush_s=0.01, is_delivered=True)
    yield made
    made.close()


def delivery_of(log: ExperienceLog, url: str) -> Delivery:
    return Delivery(log.path, url, pause_s=0.01)


def test_events_arrive_in_another_log(log, tmp_path):
    with redis_server.running() as server:
        url, path = server.connection_url, tmp_path / "trainer.sqlite"
        delivery = delivery_of(log, url)
        for i in range(300):
            log.put(decided(i))
        log.put(ended(7))
        until(lambda: delivery.delivered == 301)
        assert receive(url, path) == 301
        assert identities(path) == identities(log.path)
        assert [x.id for x in joined(path)] == ["d-7"]
        log.put(ended(8))
        until(lambda: delivery.delivered == 302)
        assert receive(url, path) == 1
        assert receive(url, path, wait_s=0.01) == 0
        delivery.close()


def test_the_log_keeps_them_while_the_server_is_away(log, tmp_path):
    with redis_server.running() as server:
        port, url = server.port, server.connection_url
        delivery = delivery_of(log, url)
        log.put(decided(0))
        until(lambda: delivery.delivered == 1 and delivery.is_connected)
        path = tmp_path / "trainer.sqlite"
        receive(url, path)
    until(lambda: not delivery.is_connected)  # it was killed, and all it had is gone
    for i in range(1, 200):
        log.put(decided(i))
    until(lambda: log.written == 200)
    with pytest.raises(redis.RedisError):
        receive(url, path)
    with redis_server.running(port):
        until(lambda: delivery.delivered == 200)
        connection = client(url)
        assert connection.xlen(STREAM) == 4  # of 64 events at most
        connection.close()
        receive(url, path)
        assert {*identities(path)} >= {f"d-{i}" for i in range(1, 200)}
        delivery.close()


def test_what_comes_twice_counts_once(log, tmp_path):
    with redis_server.running() as server:
        url, path = server.connection_url, tmp_path / "trainer.sqlite"
        for _ in range(2):  # the second time, it was not told that the server has them
            delivery = delivery_of(log, url)
            if not identities(log.path):
                for i in range(10):
                    log.put(decided(i))
            until(lambda made=delivery: made.delivered == 10)
            delivery.close()
            forget(log)
        assert receive(url, path) == 10
        assert len(identities(path)) == 10


def forget(log: ExperienceLog) -> None:
    connection = opened(log.path)
    connection.execute("DELETE FROM cursors")
    connection.close()


def test_the_stream_is_bounded(log):
    with redis_server.running() as server:
        delivery = Delivery(log.path, server.connection_url, most_events=640, pause_s=0.01)
        for i in range(20_000):
            log.put(decided(i))
        until(lambda: delivery.delivered == 20_000)
        connection = client(server.connection_url)
        assert connection.xlen(STREAM) < 250  # about 11 entries: the server trims whole nodes
        connection.close()
        delivery.close()


def test_foreign_entries_are_refused(tmp_path):
    with redis_server.running() as server:
        connection = client(server.connection_url)
        connection.xadd(STREAM, {"something": "else"})
        with pytest.raises(ValueError, match="holds no events"):
            receive(server.connection_url, tmp_path / "trainer.sqlite")
        connection.close()
