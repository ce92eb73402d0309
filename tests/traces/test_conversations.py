"""Synthetic conversations: what their docstring states, how prompts grow, and bad settings.

Statistics have fixed seeds and stated tolerances.
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from marlserve import traces
from marlserve.traces import conversations, invocations, llm_requests
from marlserve.traces.conversations import AGENTS, CHAT, CODE, LONG, PRESETS, Lengths
from marlserve.traces.llm_requests import LLMRequests

DATA = Path(os.environ.get("MARLSERVE_DATA", ""))
MONDAY_S = 1_714_953_600.0  # 2024-05-06
# Mean, p50, p90 and p99 of prompts and outputs, as the docstring has them.
RECORDED = {
    "chat": ((1154.7, 1020, 2734.5, 4142), (211.1, 129, 424, 601)),
    "code": ((2047.8, 1469, 5187.6, 7436), (27.9, 13, 55, 251.5)),
    "long": ((12_035.1, 6909, 27_367, 85_400), (342.6, 350, 597, 1118.5)),
}
DRAWN = {"agents": ((11_998, 7790, 27_014, 61_867), (201, 110, 419, 1516)), **RECORDED}
FILES = {
    "chat": "azure_llm_2023/conv.csv",
    "code": "azure_llm_2023/code.csv",
    "long": "mooncake/conversation_trace.jsonl",
}
HIT_SHARE = {"chat": 0.57, "code": 0.44, "long": 0.40, "agents": 0.64}


@cache
def drawn(name: str, seed: int = 1, requests: int = 50_000) -> LLMRequests:
    config = PRESETS[name]
    duration_s = requests / config.rate_per_s
    return conversations.load(np.random.default_rng(seed), config=config, duration_s=duration_s)


def statistics(trace: traces.Trace, column: str) -> list[float]:
    return [trace[column].mean(), *np.percentile(trace[column], (50, 90, 99))]


def ids(trace: LLMRequests, row: int) -> list[int]:
    return trace.block_ids[trace.block_starts[row] : trace.block_starts[row + 1]].tolist()


def dispersion(trace: traces.Trace, window_s: float) -> float:
    edges = np.arange(trace.start_s, trace.end_s, window_s)
    counts = np.histogram(trace.time_s, edges)[0]
    return float(counts.var() / counts.mean())


# What is stated -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_tokens_are_as_many_as_recorded(name):
    for column, expected in zip(("prompt_tokens", "output_tokens"), DRAWN[name], strict=True):
        *found, p99 = statistics(drawn(name), column)
        assert found == pytest.approx(expected[:3], rel=0.08)
        assert p99 == pytest.approx(expected[3], rel=0.15)  # its standard error is up to 5 %
        assert drawn(name)[column].min() >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_prefixes_are_shared_as_stated(name):
    assert drawn(name).prefix_hit_share() == pytest.approx(HIT_SHARE[name], abs=0.02)
    hour = conversations.load(np.random.default_rng(2), config=PRESETS[name])
    assert 0.3 < hour.prefix_hit_share() < 0.65
    if name == "long":
        assert hour.prefix_hit_share() == pytest.approx(0.374, abs=0.03)  # of as long a recording


@pytest.mark.parametrize(
    ("name", "in_10_s", "in_60_s"), [("chat", 3.9, 16), ("code", 72, 164), ("long", 2.1, 3.0)]
)
def test_arrivals_come_in_bursts_of_the_recorded_size(name, in_10_s, in_60_s):
    """Within half and double."""
    for window_s, expected in ((10.0, in_10_s), (60.0, in_60_s)):
        assert 0.5 * expected < dispersion(drawn(name), window_s) < 2.0 * expected


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_rate_is_what_was_asked_for_from_the_start_on(name):
    """Sessions under way: without them, the first minutes would have first turns only."""
    config = replace(PRESETS[name], burst_factor=1.0)
    trace = conversations.load(np.random.default_rng(3), config=config, duration_s=20_000.0)
    assert trace.rate_per_s == pytest.approx(config.rate_per_s, rel=0.03)
    first = trace.window(0.0, 1000.0)
    assert first.rate_per_s == pytest.approx(config.rate_per_s, rel=0.12)
    mean, start_mean = trace["prompt_tokens"].mean(), first["prompt_tokens"].mean()
    assert start_mean == pytest.approx(mean, rel=0.12)


@pytest.mark.parametrize(("name", "gap_s"), [("chat", 123.0), ("code", 20.0), ("agents", 12.0)])
def test_turns_and_gaps_of_a_session(name, gap_s):
    trace = drawn(name)
    order = np.lexsort((trace.time_s, trace["session"]))
    same = np.diff(trace["session"][order]) == 0
    gaps_s = np.diff(trace.time_s[order])[same]
    assert np.median(gaps_s) == pytest.approx(gap_s, rel=0.05)
    assert np.log(gaps_s).std() == pytest.approx(1.0, abs=0.05)
    turns = np.bincount(trace["session"])
    assert turns.mean() == pytest.approx(PRESETS[name].mean_turns, rel=0.06)


@pytest.mark.slow
def test_traffic_follows_the_hours_of_the_week():
    config = replace(CHAT, start="2024-05-06 00:00:00", burst_factor=1.0, gap_median_s=20.0)
    trace = conversations.load(np.random.default_rng(5), config=config, duration_s=86_400.0)
    assert (trace.start_s, trace.duration_s) == (MONDAY_S, 86_400.0)
    counts = np.histogram(trace.time_s, MONDAY_S + 3600.0 * np.arange(25))[0]
    expected = invocations.shape(MONDAY_S + 3600.0 * np.arange(24) + 1800.0)
    np.testing.assert_allclose(counts / 3600.0, expected * config.rate_per_s, rtol=0.12)


# How prompts grow ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_prompt_is_all_before_and_more_or_as_long_as_it_may_be(name):
    config, trace = PRESETS[name], drawn(name, requests=3000)
    system = conversations.sessions.system_tokens(config)
    last: dict[int, int] = {}
    grown = cut = 0
    for row, session in enumerate(trace["session"].tolist()):
        before, last[session] = last.get(session), row
        if before is None:
            continue
        had, has = ids(trace, before), ids(trace, row)
        said = trace["prompt_tokens"][before] + trace["output_tokens"][before]
        if trace["prompt_tokens"][row] == config.context_tokens:
            cut += 1
            differ = (i for i, (a, b) in enumerate(zip(had, has, strict=False)) if a != b)
            in_common = next(differ)
            assert in_common * config.block_tokens in system
        else:
            grown += 1
            assert trace["prompt_tokens"][row] > said
            assert has[: len(had)] == had
    assert grown > 500
    assert cut > 20 or name in ("long", "agents")


def test_sessions_share_the_system_prompt_of_their_application_and_nothing_else():
    trace = drawn("agents", requests=3000)
    system = conversations.sessions.system_tokens(AGENTS) // AGENTS.block_tokens
    owner: dict[int, set[int]] = {}
    for row, session in enumerate(trace["session"].tolist()):
        for i in ids(trace, row):
            owner.setdefault(i, set()).add(session)
    assert {i for i, found in owner.items() if len(found) > 1} <= set(range(system.sum()))
    first = trace.block_ids[trace.block_starts[:-1]]
    begins = np.append(0, system.cumsum())[:-1]
    assert set(first.tolist()) == set(begins.tolist())
    by_popularity = np.array([(first == begin).mean() for begin in begins])
    weight = 1.0 / np.arange(1, len(begins) + 1)
    np.testing.assert_allclose(by_popularity, weight / weight.sum(), atol=0.03)


def test_seeds_repeat_and_differ():
    one, same, other = (
        conversations.load(np.random.default_rng(seed), duration_s=300.0) for seed in (1, 1, 2)
    )
    for name in conversations.COLUMNS:
        np.testing.assert_array_equal(one[name], same[name])
    np.testing.assert_array_equal(one.block_ids, same.block_ids)
    assert len(one) != len(other) or (one.time_s != other.time_s).any()


def test_no_time_has_no_requests():
    trace = conversations.load(np.random.default_rng(0), duration_s=0.0)
    assert (len(trace), trace.duration_s, trace.prefix_hit_share()) == (0, 0.0, 0.0)
    rare = replace(LONG, rate_per_s=1e-9)
    assert len(conversations.load(np.random.default_rng(0), config=rare, duration_s=9.0)) == 0


def test_an_engine_can_replay_it(tmp_path):
    trace = conversations.load(np.random.default_rng(1), config=CODE, duration_s=600.0)
    llm_requests.save(trace, tmp_path / "code.jsonl")
    again = llm_requests.load(path=tmp_path / "code.jsonl", block_tokens=CODE.block_tokens)
    np.testing.assert_array_equal(again.block_ids, trace.block_ids)
    np.testing.assert_allclose(again.time_s, trace.time_s, atol=1e-8)


# Lengths and bad settings -------------------------------------------------------------------------


def test_lengths_have_their_quantiles():
    law = Lengths(1, 10, 20, 40, 80, 800, 900, 1000, 5000)
    found = law.draw(np.random.default_rng(0), 200_000)
    expected = [10, 20, 40, 80, 800, 900, 1000]
    np.testing.assert_allclose(
        np.percentile(found, (10, 25, 50, 75, 90, 95, 99)), expected, rtol=0.03
    )
    assert (found.min(), found.max() <= 5000) == (1, True)
    for wrong in ((0, 1, 1, 1, 1, 1, 1, 1, 1), (1, 3, 2, 4, 5, 6, 7, 8, 9)):
        with pytest.raises(ValueError, match="expected at least 1, and none below the last"):
            Lengths(*wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"rate_per_s": 0.0},
        {"mean_turns": 0.5},
        {"gap_median_s": np.inf},
        {"gap_sigma": -1.0},
        {"popularity": np.nan},
        {"applications": 0},
        {"block_tokens": 1.5},
        {"context_tokens": 512},
        {"burst_factor": 0.5},
        {"burst_share": 1.0},
        {"mean_burst_s": 0.0},
        {"start": "today"},
    ],
)
def test_a_bad_setting_is_named(change):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"{name} is {value!r}; expected"):
        conversations.load(np.random.default_rng(0), config=replace(CHAT, **change))


def test_a_bad_duration_and_no_generator_are_errors():
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"duration_s is {wrong}; expected"):
            conversations.load(np.random.default_rng(0), duration_s=wrong)
    with pytest.raises(ValueError, match="rng is None; a synthetic trace is drawn from it"):
        traces.load("conversations")


# Recordings ---------------------------------------------------------------------------------------


@pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA names no data folder"
)
@pytest.mark.parametrize("name", RECORDED)
def test_the_recordings_have_the_figures_that_are_stated(name):
    trace = llm_requests.load(path=DATA / FILES[name])
    for column, expected in zip(("prompt_tokens", "output_tokens"), RECORDED[name], strict=True):
        assert statistics(trace, column) == pytest.approx(expected, rel=0.001)
    assert trace.rate_per_s == pytest.approx(PRESETS[name].rate_per_s, rel=0.01)
    stated = {"chat": (3.9, 16), "code": (72, 164), "long": (2.1, 3.0)}[name]
    assert (dispersion(trace, 10.0), dispersion(trace, 60.0)) == pytest.approx(stated, rel=0.02)
