"""Requests with prefixes: the forms that are read and written, and recordings."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from marlserve.traces import llm_requests

DATA = Path(os.environ.get("MARLSERVE_DATA", ""))
needs_data = pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA names no data folder"
)
MOONCAKE = (
    '{"timestamp": 27482, "input_length": 1025, "output_length": 52, "hash_ids": [46, 47, 2353]}\n'
    '{"timestamp": 30535.25, "input_length": 600, "output_length": 0, "hash_ids": [46, 47, 9]}\n'
    '{"timestamp": 30535.25, "input_length": 512, "output_length": 1, "hash_ids": [47]}\n'
)
BURSTGPT = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,b7,1.5,ChatGPT,472,18,490,Conversation log\n"
    "45.5,,,GPT-4,1087,230,1317,API log\n"
    "45.5,a,2,ChatGPT,0,0,0,Conversation log\n"
    "118,b7,,GPT-4,417,276,693,Conversation log\n"
)
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.5,4808,10\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "requests"
        path.write_bytes(text.encode())
        return path

    return write


# What is read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["", "\ufeff", "packed"])
def test_json_lines_are_read(write, start):
    path = write(MOONCAKE if start == "packed" else start + MOONCAKE)
    if start == "packed":
        path.write_bytes(gzip.compress(path.read_bytes()))
    trace = llm_requests.load(path=path)
    np.testing.assert_array_equal(trace.time_s, [27.482, 30.53525, 30.53525])
    np.testing.assert_array_equal(trace["prompt_tokens"], [1025, 600, 512])
    np.testing.assert_array_equal(trace["output_tokens"], [52, 0, 1])
    np.testing.assert_array_equal(trace["session"], [-1, -1, -1])
    np.testing.assert_array_equal(trace.block_ids, [46, 47, 2353, 46, 47, 47])  # without 9
    np.testing.assert_array_equal(trace.block_starts, [0, 3, 5, 6])
    assert (trace.block_tokens, trace.start_s) == (512, 27.482)
    assert len(trace.between(trace.start_s, trace.end_s)) == 3


def test_an_id_may_stand_for_another_number_of_tokens(write):
    line = '{"timestamp_ms":5087.1,"input_length":184,"output_length":48,"hash_ids":[0,1]}'
    trace = llm_requests.load(path=write(line), block_tokens=128)
    assert (trace.block_tokens, trace.time_s.tolist()) == (128, [5.0871])
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match=f"block_tokens is {wrong}; expected a whole number"):
            llm_requests.load(path=write(line), block_tokens=wrong)


def test_requests_of_burstgpt_are_read_with_and_without_failures(write):
    trace = llm_requests.load(path=write(BURSTGPT))
    np.testing.assert_array_equal(trace.time_s, [5.0, 45.5, 118.0])
    np.testing.assert_array_equal(trace["prompt_tokens"], [472, 1087, 417])
    np.testing.assert_array_equal(trace["output_tokens"], [18, 230, 276])
    first, none, last = trace["session"]
    assert (first == last, none) == (True, -1)
    assert (len(trace.block_ids), trace.block_starts.tolist()) == (0, [0, 0, 0, 0])
    every = llm_requests.load(path=write(BURSTGPT), keep_failures=True)
    np.testing.assert_array_equal(every["output_tokens"], [18, 230, 0, 276])
    assert len(set(every["session"].tolist())) == 3
    with pytest.raises(ValueError, match="line 2, column Response tokens: '0'; .* keep_failures"):
        llm_requests.load(path=write("Timestamp,Request tokens,Response tokens\n1,0,0\n"))


def test_burstgpt_without_sessions_and_azure_are_read(write):
    old = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,GPT-4,4,1,5,API\n"
    )
    trace = llm_requests.load(path=write(old))
    assert (trace.time_s[0], trace["prompt_tokens"][0], trace["session"][0]) == (5.0, 4, -1)
    trace = llm_requests.load(path=write(AZURE))
    assert (trace.time_s[0], trace.start_s) == (1_700_158_623.5, 1_700_158_623.5)
    assert (trace["prompt_tokens"][0], trace["session"][0], len(trace.block_ids)) == (4808, -1, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: ''; expected a JSON object with timestamp, .* or the header TIMESTAMP,"),
        ("time,tokens\n1,2\n", "line 1: 'time,tokens'; expected .*Azure.*BurstGPT"),
        ("Time,TIMESTAMP\n2024-05-10 00:00:00,146\n", "line 1: 'Time,TIMESTAMP'; expected"),
        (AZURE.replace("4808", "some"), "line 2, column ContextTokens: 'some'"),
        (BURSTGPT.replace(",472", ",4.5"), "line 2, column Request tokens: '4.5'; expected a non"),
        (BURSTGPT.replace("118,", "soon,"), "line 5, column Timestamp: 'soon'"),
        (BURSTGPT.replace("118,", "11,"), "line 5, column Timestamp: '11'; expected .* not before"),
        (BURSTGPT.replace("5,b7,1.5", "-5,b7,1.5"), "line 2, column Timestamp: '-5'; .* non-neg"),
        (BURSTGPT.replace(",API log", ""), "line 3: .*; expected 8 columns"),
        (MOONCAKE[:-9], "line 3: .*; expected a JSON object"),
        (MOONCAKE + "\n", r"line 4: b'\\n'; expected a JSON object"),
        (MOONCAKE + "[3]\n", "line 4: .*; expected a JSON object"),
        (
            MOONCAKE.replace("input_length", "length"),
            "line 1: no field input_length; expected time",
        ),
        (MOONCAKE.replace("timestamp", "time"), "line 1: no field timestamp; expected"),
        (MOONCAKE.replace("27482", '"0"'), "line 1, field timestamp: '0'; expected milliseconds"),
        (MOONCAKE.replace("27482", "NaN"), "line 1, field timestamp: nan; expected milliseconds"),
        (MOONCAKE.replace("27482", "-1"), "line 1, field timestamp: -1; expected milliseconds"),
        (MOONCAKE.replace("27482", "40000"), "line 2, field timestamp: 30535.25; .* none before"),
        (MOONCAKE.replace("600", "600.0"), "line 2, field input_length: 600.0; expected a whole"),
        (MOONCAKE.replace("600", "0"), "line 2, field input_length: 0; .* at least 1"),
        (MOONCAKE.replace("52,", "true,"), "line 1, field output_length: True; expected a whole"),
        (MOONCAKE.replace("[47]", "47"), "line 3, field hash_ids: 47; expected a list of whole"),
        (MOONCAKE.replace("[47]", "[-1]"), r"line 3, field hash_ids: \[-1\]; .* at least 0"),
        (MOONCAKE.replace("[47]", f"[{2**63}]"), "line 3, field hash_ids"),
        (
            MOONCAKE.replace("512,", "513,"),
            r"line 3, field hash_ids: \[47\]; expected 2 or more, of 512 tokens each, for .* 513",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as error:
        llm_requests.load(path=path)
    assert str(path) in str(error.value)


# What is written ----------------------------------------------------------------------------------


def test_what_is_saved_is_read_again(write, tmp_path):
    trace, path = llm_requests.load(path=write(MOONCAKE)), tmp_path / "saved.jsonl"
    llm_requests.save(trace, path)
    again = llm_requests.load(path=path)
    for name in ("time_s", "prompt_tokens", "output_tokens"):
        np.testing.assert_array_equal(again[name], trace[name])
    np.testing.assert_array_equal(again.block_ids, trace.block_ids)
    np.testing.assert_array_equal(again.block_starts, trace.block_starts)
    first = json.loads(path.read_text().splitlines()[0])
    assert type(first["timestamp"]) is int


def test_requests_of_unknown_prompts_are_saved_as_prompts_with_nothing_in_common(write, tmp_path):
    trace, path = llm_requests.load(path=write(BURSTGPT)), tmp_path / "saved.jsonl"
    llm_requests.save(trace, path)
    again = llm_requests.load(path=path)
    np.testing.assert_array_equal(np.diff(again.block_starts), [1, 3, 1])
    assert len(set(again.block_ids.tolist())) == 5
    assert again.prefix_hit_share() == 0.0


# Recordings ---------------------------------------------------------------------------------------


@needs_data
def test_the_recorded_conversations():
    trace = llm_requests.load(path=DATA / "mooncake/conversation_trace.jsonl")
    assert (len(trace), len(trace.block_ids)) == (12_031, 288_500)
    assert trace["prompt_tokens"].mean() == pytest.approx(12_035.1, abs=0.05)
    assert trace["output_tokens"].mean() == pytest.approx(342.6, abs=0.05)
    assert trace.prefix_hit_share() == pytest.approx(0.3736, abs=0.0001)
    shares = trace.prefix_hit_tokens() / trace["prompt_tokens"]
    assert shares.mean() == pytest.approx(0.41, abs=0.005)
    earlier, later = trace.split(0.5)
    assert len(earlier) + len(later) == 12_031


@needs_data
@pytest.mark.parametrize("run", ["mooncake_x1", "mooncake_x2_kv", "shared_prefix_rr"])
def test_no_engine_reuses_more_than_a_cache_without_bounds(run):
    """Replays by an independent engine, whose blocks have 64 tokens, on several workers."""
    folder = DATA / "replica_reference"
    name = "moon2000" if run.startswith("mooncake") else "shared_prefix"
    hit_tokens = llm_requests.load(path=folder / f"{name}.jsonl").prefix_hit_tokens(64)
    replay = pyarrow.csv.read_csv(folder / f"{run}.csv").sort_by("request")
    reused_tokens = replay["reused_tokens"].to_numpy()
    assert (reused_tokens <= hit_tokens).all()
    assert 0 < reused_tokens.sum() < hit_tokens.sum()
    assert (reused_tokens == hit_tokens).mean() > 0.1


@needs_data
def test_the_recordings_of_a_real_engine_have_blocks_of_128_tokens():
    path = DATA / "vllm_reference/shared_85.jsonl"
    trace = llm_requests.load(path=path, block_tokens=128)
    assert trace.prefix_hit_share() == pytest.approx(0.55, abs=0.02)
    with pytest.raises(ValueError, match="of 64 tokens each"):
        llm_requests.load(path=path, block_tokens=64)


@needs_data
def test_the_recorded_requests_of_azure():
    trace = llm_requests.load(path=DATA / "azure_llm_2023/code.csv")
    assert (len(trace), len(trace.block_ids), trace.prefix_hit_share()) == (8819, 0, 0.0)


def test_joined_traces_follow_each_other_and_share_what_their_family_has(write):
    trace = llm_requests.load(path=write(BURSTGPT))
    chats = llm_requests.load(path=write(MOONCAKE))
    larger = llm_requests.load(path=write(MOONCAKE), block_tokens=600)
    with pytest.raises(ValueError, match="block_tokens are 512 and 600"):
        llm_requests.joined([chats, larger], [0, 0])
    once = llm_requests.joined([chats, trace, chats], [0, 1, 0])
    assert (once.start_s, once.duration_s) == pytest.approx(
        (chats.start_s, 2 * chats.duration_s + trace.duration_s)
    )
    gaps = np.diff(chats.time_s)
    np.testing.assert_allclose(np.diff(once.time_s)[[0, 1, -2, -1]], [*gaps, *gaps])
    found = once.prefix_hit_tokens()
    np.testing.assert_array_equal(found[-3:], chats["prompt_tokens"] - 1)
    others = llm_requests.joined([chats, chats], [0, 1])
    np.testing.assert_array_equal(others.prefix_hit_tokens(), np.tile(chats.prefix_hit_tokens(), 2))
    sessions = llm_requests.joined([trace, trace, trace], [0, 1, 1])["session"].reshape(3, -1)
    assert (sessions[1] == sessions[2]).all()
    known = sessions[0] >= 0
    assert (sessions[1][known] != sessions[0][known]).all()
    assert (sessions[:, ~known] == -1).all()
