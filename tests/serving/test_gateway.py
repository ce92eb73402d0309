"""What passes through the gateway comes out as it went in, and is measured on its way."""

import asyncio

import pytest
from engines import BLOCK, NUM_BLOCKS
from gateway_client import CHAT, COMPLETIONS, ask, run

from marlserve.serving.experience.events import joined
from marlserve.serving.gateway.address import Address
from marlserve.serving.gateway.settings import Tokens


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("stream", [False, True])
def test_replies_are_passed_on_byte_for_byte(path, stream):
    async def play(world):
        more = {"stream": stream, "stream_options": {"include_usage": True}, "max_tokens": 5}
        passed = await world.complete("one two three", path, **more)
        _, body = world.engines[0].seen[0]
        world.engines[0].seen.clear()  # so that it numbers the next one alike
        direct = await ask(Address(world.engines[0].url), "POST", path, body)
        assert passed.status == 200
        assert passed.body == direct.body
        assert passed.headers[b"content-type"] == direct.headers[b"content-type"]
        assert passed.headers[b"x-engine"] == str(world.engines[0].port).encode()
        assert passed.headers[b"x-replica"] == world.engines[0].url.encode()
        if stream:
            assert len(passed.chunks) >= 5  # they came as they were made
        assert world.counted("ttft_seconds_count") == stream
        assert world.counted("tpot_seconds_count") == world.counted("e2e_seconds_count") == 1

    run(play, 1)


def test_requests_are_passed_on_as_they_are():
    async def play(world):
        await world.ask(
            "POST",
            f"{COMPLETIONS}?x=1",
            b' {"prompt" : "\\u00e9", "odd": [1.0]}',
            authorization="Bearer of-the-caller",
            x_own="1",
            connection="x-own, keep-alive",
        )
        headers, body = world.engines[0].seen[0]
        assert body == {"prompt": "é", "odd": [1.0]}
        assert headers["authorization"] == "Bearer of-the-caller"
        assert headers["host"] == world.engines[0].url.removeprefix("http://")
        assert "x-own" not in headers  # of the connection alone, as it says

    run(play, 1)


def test_models_are_what_a_replica_says():
    async def play(world):
        assert (await world.ask("GET", "/v1/models")).json["data"] == [{"id": "tiny"}]
        await world.engines[0].kill()
        assert (await world.ask("GET", "/v1/models")).status == 200

    run(play)


def test_requests_are_spread_and_those_that_begin_alike_meet():
    async def play(world):
        prompts = [list(range(100 * i, 100 * i + 160)) for i in range(4)]
        first = [await world.complete(prompt, max_tokens=1) for prompt in prompts]
        again = [await world.complete([*prompt, 7], max_tokens=1) for prompt in prompts]
        homes = [answer.headers[b"x-replica"] for answer in first]
        assert len({*homes}) == 2
        assert [answer.headers[b"x-replica"] for answer in again] == homes
        cached = [x.json["usage"]["prompt_tokens_details"]["cached_tokens"] for x in again]
        assert cached == [160] * 4
        assert sum(each.hits for each in world.engines) == 640

    run(play, heuristic="prefix_affinity")


def test_chats_that_go_on_stay_where_they_are():
    async def play(world):
        said = [{"role": "system", "content": "be kind " * 80}]
        for turn in range(4):
            said.append({"role": "user", "content": f"question {turn} " * 40})
            await world.ask("POST", CHAT, {"messages": said, "max_tokens": 1})
            said.append({"role": "assistant", "content": "w0 "})
            # what else comes goes elsewhere
            await world.complete(f"other {turn} " * 400, max_tokens=1)
        mine = [sum("messages" in body for _, body in each.seen) for each in world.engines]
        assert sorted(mine) == [0, 0, 4]

    run(play, 3, heuristic="prefix_affinity")


def test_a_session_stays():
    async def play(world):
        for turn in range(3):
            for name in ("a", "b", "c", "d"):
                key = {"x_session_id": name} if name in "ab" else {}
                more = {} if key else {"prompt_cache_key": name}
                await world.complete(f"{name} {turn}", max_tokens=1, headers=key, **more)
        for name in "abcd":
            asked = [
                sum(str(body["prompt"]).startswith(name) for _, body in each.seen)
                for each in world.engines
            ]
            assert sorted(asked) == [0, 3]

    run(play, heuristic="session_affinity")


def test_what_engines_tell_is_known():
    async def play(world):
        for each in world.engines:
            each.goes_on.clear()
        tasks = [asyncio.create_task(world.complete()) for _ in range(4)]
        replicas = world.gateway.fleet.replicas
        await world.until(lambda: all(each.running == 2 for each in replicas))
        assert all(0 < each.kv_usage < 0.1 for each in replicas)
        assert all(each.cache_tokens == BLOCK * NUM_BLOCKS for each in replicas)
        assert world.counted("replica_running") == world.counted("replica_requests") == 4
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(play)


def test_a_caller_that_goes_ends_the_request_at_its_replica():
    async def play(world):
        replica, made = world.gateway.fleet.replicas[0], world.engines[0]
        for stream in (False, True):
            task = asyncio.create_task(world.complete(stream=stream, max_tokens=10_000))
            await world.until(lambda: len(made.running) == 1)
            await world.until(lambda: replica.requests == 1)
            task.cancel()
            await world.until(lambda: made.left == 1 and not made.running)
            made.left = 0
            assert (replica.requests, replica.unanswered) == (0, 0)
            assert (replica.prompt_tokens, replica.new_tokens) == (0, 0)
        assert world.counted("outcomes_total") == 0

    run(play, 1)


def test_replicas_come_and_go():
    async def play(world):
        leaving, staying = (each.url for each in world.engines)
        assert (await world.ask("DELETE", "/replicas", {"url": staying})).status == 200
        assert (await world.ask("POST", "/replicas", {"url": staying})).status == 200
        assert (await world.ask("POST", "/replicas", {"url": staying})).status == 409
        text = await world.ask(
            "POST", "/replicas", {"url": "http://x:1"}, content_type="text/plain"
        )
        assert text.status == 415  # as a page of another site could send it
        assert (await world.ask("POST", "/replicas", {"url": "ftp://x"})).status == 422
        assert (await world.ask("DELETE", "/replicas", {"url": "http://x:1"})).status == 422
        await world.complete(max_tokens=1)
        for each in world.engines:
            each.goes_on.clear()
        slow = asyncio.create_task(world.complete())
        await world.until(lambda: any(each.running for each in world.engines))
        busy = next(each for each in world.engines if each.running)
        other = next(each for each in world.engines if not each.running)
        other.goes_on.set()
        told = (await world.ask("DELETE", "/replicas", {"url": busy.url})).json["replicas"]
        assert [each["draining"] for each in told if each["url"] == busy.url] == [True]
        for _ in range(5):
            answer = await world.complete(max_tokens=1)
            assert answer.headers[b"x-replica"] != busy.url.encode()
        busy.goes_on.set()
        assert (await slow).status == 200
        await world.until(lambda: len(world.gateway.fleet.replicas) == 1)
        told = (await world.ask("GET", "/replicas")).json["replicas"]
        assert [each["url"] for each in told] == [{leaving, staying}.difference([busy.url]).pop()]
        last = told[0]["url"]
        await world.ask("DELETE", "/replicas", {"url": last})
        assert (await world.complete()).status == 503
        assert (await world.ask("GET", "/ready")).status == 503
        assert (await world.ask("GET", "/health")).status == 200

    run(play)


def test_tokens_are_asked_for_and_never_passed_on():
    async def play(world):
        for path in ("/v1/models", "/metrics", "/replicas", "/nothing"):
            assert (await world.ask("GET", path)).status == 401
        assert (await world.ask("GET", "/ready")).status == 200
        headers = {"authorization": "Bearer ours"}
        assert (await world.complete(headers=headers)).status == 200
        assert world.engines[0].seen[0][0]["authorization"] == "Bearer theirs"

    run(play, 1, tokens=Tokens("ours", "theirs"))


def test_what_is_too_large_or_no_request_is_refused():
    async def play(world):
        assert (await world.complete("x" * 20_000)).status == 413
        for body in (b"", b"[]", b'{"prompt": ', b"\xff"):
            answer = await world.ask("POST", COMPLETIONS, body)
            assert (answer.status, answer.json["error"]["code"]) == (400, 400)
        assert (await world.ask("GET", COMPLETIONS)).status == 405
        assert (await world.ask("POST", "/v1/embeddings", {})).status == 404
        assert world.engines[0].seen == []
        answer = await world.complete(max_tokens="many")  # the engine's own words
        assert (answer.status, answer.json["error"]["message"]) == (400, "max_tokens")
        assert world.counted("outcomes_total") == 0

    run(play, 1, most_mib=0.01)


def test_decisions_and_what_came_of_them_are_logged(tmp_path):
    async def play(world):
        answers = [await world.complete("a b", max_tokens=3, stream=True) for _ in range(3)]
        return [answer.headers[b"x-decision-id"].decode() for answer in answers]

    log = tmp_path / "experience.sqlite"
    ids = run(play, log=log)
    found = list(joined(log))
    assert [each.id for each in found] == ids
    for each in found:
        assert each.decision["reason"] == "no_policy"
        assert each.decision["propensity"] in (0.5, 1.0)
        assert each.decision["replica"].startswith("http://127.0.0.1:")
        outcome = each.outcome
        assert (outcome["success"], outcome["output_tokens"]) == (True, 3)
        assert 0 < outcome["ttft_s"] < outcome["e2e_s"]
        assert outcome["reward"] == pytest.approx(-(3 * outcome["ttft_s"] + outcome["e2e_s"]) / 10)
