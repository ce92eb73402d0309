"""Stand-ins of real engines behind the gateway, and other routers before them: NVIDIA Dynamo's mock
engines with their OpenAI frontends, vllm-router and sglang-router, which `make test-others` has.
"""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from gateway_client import ask

from marlserve.serving.experience.events import joined
from marlserve.serving.gateway.address import Address
from marlserve.serving.trials.others import Others
from marlserve.serving.trials.shared_prefixes import gateway
from marlserve.serving.trials.traffic import Traffic, drawn, played

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("OTHERS" not in os.environ, reason="make test-others installs them"),
]
TRAFFIC = Traffic(requests=60, per_s=15.0, groups=6, output_tokens=8)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return Others(Path(os.environ["OTHERS"]), tmp_path_factory.mktemp("others"))


def cached_share(results) -> float:
    assert all(each.e2e_s is not None for each in results)
    return sum(x.cached_tokens for x in results) / sum(x.prompt_tokens for x in results)


@pytest.mark.parametrize("as_ids", [True, False])
def test_prompts_that_begin_alike_find_their_cache(others, as_ids, tmp_path):
    """As by the best of both routers, and better than by turns."""
    aware = "vllm cache_aware" if as_ids else "sglang cache_aware"
    by_turns = aware.replace("cache_aware", "round_robin")
    requests, shares = drawn(TRAFFIC, seed=3), {}
    for name in (by_turns, aware):
        with others.engines([1.0] * 3) as urls, others.router(name, urls) as (url, _):
            shares[name] = cached_share(asyncio.run(played(url, requests, as_ids)))
    log = tmp_path / "experience.sqlite"
    flags = ("--heuristic", "prefix_affinity", "--log", str(log))
    with (
        others.engines([1.0] * 3) as urls,
        gateway(urls, *flags, output=others.folder / "gateway.log") as (url, _),
    ):
        results = asyncio.run(played(url, requests, as_ids))
    ours = cached_share(results)
    assert ours > shares[by_turns]
    assert ours > shares[aware] - 0.1
    found = list(joined(log))
    assert len(found) == TRAFFIC.requests
    assert sum(each.outcome["cached_tokens"] for each in found) == sum(
        each.cached_tokens for each in results
    )


def test_a_chat_is_passed_on_as_the_engine_says_it(others):
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "w1 w2 w3"}],
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with (
        others.engines([1.0] * 1) as urls,
        gateway(urls, output=others.folder / "gateway.log") as (url, _),
    ):
        answer = asyncio.run(ask(Address(url), "POST", "/v1/chat/completions", body))
        models = asyncio.run(ask(Address(url), "GET", "/v1/models"))
    assert answer.body.endswith(b"data: [DONE]\n\n")
    events = [line for line in answer.body.split(b"\n\n") if line.startswith(b"data: {")]
    assert json.loads(events[-1].removeprefix(b"data: "))["usage"]["completion_tokens"] == 4
    assert models.json["data"][0]["id"] == "tiny"


def test_callers_do_not_see_that_an_engine_is_killed(others):
    """Requests without a stream, one of whose three engines is killed under way."""
    requests = drawn(Traffic(requests=40, per_s=20.0, groups=40, output_tokens=16), seed=5)

    async def play(url: str, kill) -> list[int]:
        address = Address(url)

        async def one(request) -> int:
            await asyncio.sleep(request.at_s)
            body = {"model": "tiny", "prompt": request.prompt, "max_tokens": 16}
            return (await ask(address, "POST", "/v1/completions", body)).status

        tasks = [asyncio.create_task(one(each)) for each in requests]
        await asyncio.sleep(1.0)
        kill()
        return await asyncio.gather(*tasks)

    with (
        others.engines([1.0] * 2) as urls,
        others.engine(9) as (doomed, processes),
        gateway([*urls, doomed], output=others.folder / "gateway.log") as (url, _),
    ):

        def kill() -> None:
            for each in processes:
                each.send_signal(signal.SIGKILL)

        assert asyncio.run(play(url, kill)) == [200] * 40
