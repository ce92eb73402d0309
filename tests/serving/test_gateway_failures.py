"""What goes wrong with replicas, and what callers see of it: the table of docs/gateway.md."""

import asyncio

import pytest
from gateway_client import run
from routing_policies import routing_policy
from serving_cases import policy_file

from marlserve.serving.experience.events import DECISION, OUTCOME, joined, kinds_of
from marlserve.serving.gateway import health
from marlserve.serving.policy_store import PolicyStore

BEFORE_A_REPLY = ("fails", "is busy", "closes", "babbles", "stops before a token")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", BEFORE_A_REPLY)
def test_another_replica_is_asked_before_the_first_byte(mode, stream):
    async def play(world):
        bad, good = world.engines
        bad.mode = mode
        if mode == "stops before a token" and not stream:
            bad.mode = "closes"
        for _ in range(6):
            answer = await world.complete(stream=stream, max_tokens=2)
            assert answer.status == 200
            assert answer.headers[b"x-replica"] == good.url.encode()
        retries = world.gateway.forwarding.retries
        assert 0 < retries <= len(bad.seen)  # an idle connection that was closed is no failure
        assert world.counted('outcomes_total{result="failure"}') == retries

    run(play, heuristic="random")


def test_a_replica_that_hangs_is_left_in_time(tmp_path):
    async def play(world):
        world.engines[0].mode = "hangs"
        answers = [await world.complete(max_tokens=1) for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        assert world.gateway.forwarding.retries == len(world.engines[0].seen) > 0

    run(play, heuristic="random", first_byte_s=0.2)


def test_no_caller_sees_that_a_replica_is_killed_under_load(tmp_path):
    """Of those whose reply comes whole; the others' that had begun are cut, and seen to be."""

    async def play(world):
        async def client(number: int) -> list[int]:
            return [(await world.complete(f"{number} {i}", max_tokens=5)).status for i in range(15)]

        clients = [asyncio.create_task(client(number)) for number in range(8)]
        await world.until(lambda: len(world.engines[1].seen) > 5)
        await world.engines[1].kill()
        assert await asyncio.gather(*clients) == [[200] * 15] * 8
        assert world.gateway.forwarding.retries > 0
        replica = world.gateway.fleet.replicas[1]
        await world.until(lambda: not replica.is_up)
        await world.engines[1].start()
        await world.until(lambda: replica.is_up)
        assert not replica.pieces  # what it had is gone
        assert all(
            (each.requests, each.unanswered, each.prompt_tokens) == (0, 0, 0)
            for each in world.gateway.fleet.replicas
        )

    run(play, 3)


def test_a_reply_that_is_cut_is_seen_to_be():
    async def play(world):
        world.engines[0].mode = "cuts"
        with pytest.raises(ConnectionError):
            await world.complete(stream=True, max_tokens=6)
        assert world.gateway.forwarding.cut == 1
        assert world.counted('outcomes_total{result="failure"}') == 1

    run(play, 1)


def test_where_none_answers_callers_are_told():
    async def play(world):
        world.engines[0].mode = "fails"
        world.engines[1].mode = "fails"
        answer = await world.complete()
        assert (answer.status, answer.json["error"]["message"]) == (500, "fails")  # its own words
        for each in world.engines:
            await each.kill()
        answer = await world.complete()
        assert (answer.status, answer.json["error"]["type"]) == (502, "server_error")

    run(play)


def test_retries_have_a_budget():
    async def play(world):
        for each in world.engines:
            each.mode = "fails"
        for _ in range(120):
            await world.complete()
        forwarding = world.gateway.forwarding
        assert forwarding.retries + forwarding.refused > 120
        assert 50 < forwarding.retries <= 50 + 0.1 * 120
        asked = sum(len(each.seen) for each in world.engines)
        assert asked == 120 + forwarding.retries

    run(play, 3, retry_share=0.1)


def test_a_replica_that_fails_again_and_again_is_left_alone_for_a_while():
    async def play(world):
        world.engines[0].mode = "fails"
        for _ in range(40):
            assert (await world.complete(max_tokens=1)).status == 200
        assert len(world.engines[0].seen) == health._FAILURES
        assert world.counted('ejections_total{why="failures"}') == 1
        told = (await world.ask("GET", "/replicas")).json["replicas"]
        assert [each["ejected"] for each in told] == [True, False]

    run(play, heuristic="random")


def test_one_that_is_unwell_gets_nothing_until_it_is_well():
    async def play(world):
        unwell, replica = world.engines[0], world.gateway.fleet.replicas[0]
        unwell.mode = "is unwell"
        await world.until(lambda: not replica.is_up)
        for _ in range(5):
            await world.complete(max_tokens=1)
        assert unwell.seen == []
        unwell.mode = "well"
        await world.until(lambda: replica.is_up)

    run(play)


@pytest.mark.parametrize("mode", ["keeps quiet", "tells NaN", "tells nonsense"])
def test_what_an_engine_does_not_tell_is_a_gap(mode, monkeypatch):
    monkeypatch.setattr("marlserve.serving.gateway.watching._TIMEOUT_S", 0.1)

    async def play(world):
        replica, gaps = world.gateway.fleet.replicas[0], world.gateway.watching.gaps
        assert not gaps
        replica.kv_usage = 0.25
        world.engines[0].mode = mode
        await world.until(lambda: gaps["kv_usage"] > 1)
        assert replica.is_up
        assert replica.kv_usage == 0.25 or replica.kv_usage == 0.0
        kept, scraped_s = replica.kv_usage, replica.scraped_s
        other = world.gateway.fleet.replicas[1]
        other_s = other.scraped_s
        await world.until(lambda: gaps["kv_usage"] > 3)
        assert (replica.kv_usage, replica.scraped_s) == (kept, scraped_s)
        assert other.scraped_s > other_s
        assert (await world.complete(max_tokens=1)).status == 200

    run(play)


def test_looks_at_others_do_not_wait_for_one_that_keeps_quiet(monkeypatch):
    monkeypatch.setattr("marlserve.serving.gateway.watching._TIMEOUT_S", 30.0)

    async def play(world):
        world.engines[0].mode = "keeps quiet"
        await world.until(lambda: world.engines[0].asked["/metrics"] > 0)
        asked = world.engines[1].asked["/metrics"]
        await world.until(lambda: world.engines[1].asked["/metrics"] > asked + 3)
        assert not world.gateway.watching.gaps  # it is still being waited for

    run(play)


def test_a_policy_decides_and_a_broken_one_does_not(tmp_path):
    store = PolicyStore(tmp_path)
    store.publish(routing_policy((0.0, 1.0, 0.5)))

    async def play(world):
        async def decided() -> tuple[str, str]:
            answer = await world.complete(max_tokens=1)
            identity = answer.headers[b"x-decision-id"].decode()
            log = world.gateway.log
            await world.until(lambda: log.num_waiting == 0)
            await world.until(lambda: OUTCOME in kinds_of(log.path, identity))
            said = kinds_of(log.path, identity)[DECISION]
            return said["reason"], said["version"]

        assert await decided() == ("policy", "1")
        policies = world.gateway.policies
        store.publish(routing_policy((1.0, 0.0)))  # of two replicas
        await world.until(lambda: world.gateway.decider.player.version == "2")
        assert await decided() == ("replica_count", "")
        version = store.publish(routing_policy((0.0, 1.0, 0.5)))
        weights = tmp_path / "versions" / version / "policy.safetensors"
        weights.write_bytes(weights.read_bytes()[:-3])
        await world.until(lambda: policies.refused > 0)
        assert (await world.ask("GET", "/ready")).json["refused"]
        assert (await decided())[0] == "replica_count"  # the one before goes on
        store.publish(policy_file((0.0, 1.0, 0.5)))  # of another problem
        await world.until(lambda: policies.refused > 1)
        store.publish(routing_policy((0.0, 1.0, 0.5)))
        await world.until(lambda: world.gateway.decider.player.version == "5")
        assert await decided() == ("policy", "5")
        assert world.counted("policy_version") == 5.0

    run(play, 3, models=tmp_path, log=tmp_path / "log.sqlite", share=1.0)


def test_a_value_that_is_none_is_not_followed(tmp_path):
    PolicyStore(tmp_path).publish(routing_policy((3e38, 3e38), slope=3e38))

    async def play(world):
        for _ in range(3):
            assert (await world.complete(max_tokens=1)).status == 200
        assert world.counted('decisions_total{reason="not_finite"}') == 3

    run(play, models=tmp_path, share=1.0)


def test_a_policy_that_does_worse_loses_its_requests(tmp_path):
    """It sends all to a replica that cannot; callers notice nothing, the guard does."""
    PolicyStore(tmp_path).publish(routing_policy((1.0, 0.0, 0.0)))

    async def play(world):
        world.engines[0].mode = "fails"
        world.gateway.attempts.health.failed = lambda replica, now_s: None  # nobody ejects it
        for _ in range(400):
            assert (await world.complete(max_tokens=1)).status == 200
            if world.gateway.guard.alarms:
                break
        assert world.gateway.guard.why in ("failures", "time")  # a second attempt takes longer, too
        asked = len(world.engines[0].seen)
        assert world.counted('guard{state="tripped"}') == 1
        world.gateway.decider.heuristic = type(world.gateway.decider.heuristic)("session_affinity")
        await world.complete(max_tokens=1)
        assert len(world.engines[0].seen) <= asked + 1

    run(play, 3, models=tmp_path, mode="ab", retry_share=1.0)


def test_a_full_log_is_counted_and_nothing_waits(tmp_path):
    async def play(world):
        world.gateway.log.most_waiting = 1
        world.gateway.log.flush_s = 30.0
        await world.until(lambda: world.gateway.log.num_waiting == 0)
        for _ in range(3):
            assert (await world.complete(max_tokens=1)).status == 200
        assert world.counted('log_dropped_total{why="queue_full"}') > 0

    run(play, log=tmp_path / "log.sqlite")
    assert len(list(joined(tmp_path / "log.sqlite"))) < 3
