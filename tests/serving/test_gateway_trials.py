"""What the gateway's trials measure of engines, and what the simulator makes of it."""

import asyncio
import os
import subprocess
import sys
import time
from itertools import pairwise
from math import inf
from random import Random

import numpy as np
import pytest
from engines import BLOCK, SCALE, engine

from marlserve.envs.sims.replica import Engine, TableTiming
from marlserve.envs.sims.replica_timing import Timing
from marlserve.serving.trials.passes import COLUMNS, measured, of_prompt, of_steps
from marlserve.serving.trials.predicting import chains, predicted
from marlserve.serving.trials.traffic import Request, Result, Stream, Traffic, drawn, played
from marlserve.serving.trials.traffic import main as save
from marlserve.serving.trials.vllm import VLLM, Running
from marlserve.traces.llm_requests import load


def stream(*tokens_s: float, prompt: int = 100, cached: int = 0) -> Stream:
    return Stream(0.0, list(tokens_s), tokens_s[-1], prompt, cached, "")


def row(*values: float) -> dict[str, float]:
    return dict(zip(COLUMNS, values, strict=True))


def test_a_prompt_is_a_pass_of_what_is_not_in_the_cache():
    assert of_prompt(stream(0.25, prompt=100)) == row(250.0, 100, 5_000.0, 0, 0)
    assert of_prompt(stream(0.25, prompt=100, cached=96)) == row(250.0, 4, 4 * 98.0, 0, 0)


def test_passes_of_steps_are_those_in_which_all_sequences_decode():
    early, late = stream(1.0, 1.5, 2.0, 2.5, 3.0), stream(2.0, 2.4, 3.0, 3.5, prompt=10)
    assert of_steps([early, late]) == row(500.0, 0, 0, 2, 110 + (3 + 5 + 1 + 3) / 2)
    assert of_steps([late]) == row(500.0, 0, 0, 1, 10 + (1 + 4) / 2)
    assert of_steps([early, stream(3.5, 4.0)])["wall_ms"] == inf


def test_passes_of_an_engine_are_measured_from_outside():
    """Each is as long as the stand-in takes, at least, and has the tokens that it was told of."""

    async def play():
        async with engine() as one:
            return await measured(one.url, 2, Random(0))

    rows, on_the_way_ms = asyncio.run(play())
    prompts = [each for each in rows if each["prefill_tokens"]]
    assert {each["prefill_tokens"] for each in prompts} >= {8, 32, 2_000, 8 + 1_024 % BLOCK}
    assert {each["decode_seqs"] for each in rows} == {0, 1, 2, 4, 8, 16, 32}
    assert on_the_way_ms > 0.0
    alone = [each["wall_ms"] for each in rows if each["decode_seqs"] == 1]
    assert len(alone) == 3
    assert min(alone) > SCALE * Timing().decode_ms
    (longest,) = (each for each in prompts if each["prefill_tokens"] == 2_000)
    assert longest["wall_ms"] + on_the_way_ms > SCALE * (16.5 + 0.0151 * 2_000)


def test_prompts_have_pieces_in_common_as_far_as_they_begin_alike():
    one, other = [1, 2, 3, 4, 5], [1, 2, 9, 4, 5, 6]
    nodes, starts = chains([one, other, one[:3]], 2)
    assert starts.tolist() == [0, 2, 5, 6]
    assert nodes.tolist() == [0, 1, 0, 2, 3, 0]


def test_what_was_played_is_foreseen_from_the_timing():
    """Alone, a request takes a pass for what is not cached, and one for each further token."""
    shared = [7] * 64
    requests = [Request(10.0 * i, 0, [*shared, i], 4) for i in range(4)]
    results = [Result(0.1, 0.2, replica=name) for name in ("a", "b", "a")] + [Result(None, None)]
    timing = TableTiming((1.0, 100.0), (10.0, 1_000.0))
    told = predicted(requests, results, Engine(32, 64, 8, 128, timing=timing), 0.5)
    assert [each.cached_tokens for each in told] == [0, 0, 64]
    assert [each.replica for each in told] == ["a", "b", "a"]
    assert np.allclose([each.ttft_s for each in told], [1.15, 1.15, 0.51])
    assert np.allclose([each.e2e_s - each.ttft_s for each in told], 0.03)
    slowness = {"a": 2.0, "b": 1.0}
    slower = predicted(requests, results, Engine(32, 64, 8, 128, timing=timing), 0.5, slowness)
    assert np.allclose([each.ttft_s for each in slower], [1.80, 1.15, 0.52])


@pytest.mark.parametrize("as_ids", [True, False])
def test_traffic_is_played_at_its_times(as_ids):
    requests = drawn(Traffic(8, per_s=40.0, groups=2, shared_tokens=64, own_tokens=8), seed=1)
    assert all(one.at_s < other.at_s for one, other in pairwise(requests))

    async def play(mode: str):
        async with engine() as one:
            one.mode = mode
            return await played(one.url, requests, as_ids), one.seen

    results, seen = asyncio.run(play("well"))
    assert all(0.0 < each.ttft_s <= each.e2e_s and each.prompt_tokens for each in results)
    prompts = [body["prompt"] for _, body in seen]
    expected = sorted(each.prompt for each in requests)
    if not as_ids:
        prompts = [[int(word[1:]) + 3 for word in prompt.split()] for prompt in prompts]
    assert sorted(prompts) == expected
    assert sum(each.cached_tokens for each in results) >= 6 * 48
    assert {headers["x-session-id"] for headers, _ in seen} == {"group-0", "group-1"}
    for mode in ("fails", "cuts", "closes"):
        results, _ = asyncio.run(play(mode))
        assert results == [Result(None, None)] * len(requests)


def test_traffic_is_written_for_the_simulator(tmp_path):
    traffic = Traffic(20, groups=3, shared_tokens=1_024, own_tokens=100)
    save(tmp_path / "requests.jsonl", 1, traffic)
    trace, requests = load(path=tmp_path / "requests.jsonl"), drawn(traffic, 1)
    assert trace["prompt_tokens"].tolist() == [1_124] * 20
    assert np.allclose(trace["time_s"], [each.at_s for each in requests], atol=1e-3)
    groups = [each.group for each in requests]
    hits = [1_024 * (group in groups[:i]) for i, group in enumerate(groups)]
    assert trace.prefix_hit_tokens(16).tolist() == hits
    with pytest.raises(ValueError, match="shared_tokens is 1000"):
        save(tmp_path / "requests.jsonl", 1, Traffic())


def test_an_engine_that_is_not_installed_is_said_so(tmp_path):
    with pytest.raises(ValueError, match="bin/vllm is not there; `make vllm` installs it"):
        VLLM(tmp_path, tmp_path)


def test_an_engine_tells_how_much_slower_it_was_for_want_of_a_core():
    """A process that computes, and one that computes beside another on the same core."""
    core, program = str(min(os.sched_getaffinity(0))), "while True: pass"
    command = ["taskset", "-c", core, sys.executable, "-c", program]
    with subprocess.Popen(command) as one, subprocess.Popen(command) as other:
        try:
            running = Running("http://127.0.0.1:1", one.pid)
            time.sleep(1.0)
            assert running.slowness() > 1.3
        finally:
            one.kill()
            other.kill()
