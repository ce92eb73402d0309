"""The parts of the gateway that read: prompts, replies, engines' metrics, settings, headers."""

import re
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlserve.envs.replica_routing.config import PRESETS
from marlserve.envs.replica_routing.observation import estimates
from marlserve.serving.decisions.question import measured
from marlserve.serving.gateway import prefix_index
from marlserve.serving.gateway.address import Address
from marlserve.serving.gateway.engine_metrics import read
from marlserve.serving.gateway.headers import end_to_end, to_replica
from marlserve.serving.gateway.health import Health
from marlserve.serving.gateway.prompts import PIECE_BYTES, PIECE_TOKENS, TokensPerByte, prompt_of
from marlserve.serving.gateway.replica import Replica
from marlserve.serving.gateway.replies import Reply
from marlserve.serving.gateway.settings import GatewaySettings, Tokens
from marlserve.serving.service.listening import check

STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
WHOLE = [(b"content-type", b"application/json")]


@given(
    texts=st.lists(st.text(max_size=12), max_size=6),
    sizes=st.lists(st.integers(1, 9), min_size=1),
    line=st.sampled_from(["\n", "\r\n"]),
)
def test_tokens_of_a_stream_are_counted_however_it_is_cut(texts, sizes, line):
    texts = [*texts, 'data: {"x"', "\\ndata:"]
    lines = [line.join(["data: " + repr(text), "", ""]) for text in texts]
    sent = f": a comment{line}{line}{''.join(lines)}data: [DONE]{line}{line}".encode()
    reply, at, i = Reply(STREAM), 0, 0
    while at < len(sent):
        size = sizes[i % len(sizes)]
        reply.add(sent[at : at + size])
        at, i = at + size, i + 1
    assert reply.events == len(texts) + 1
    assert reply.output_tokens({}) == len(texts)


def test_what_an_engine_says_of_usage_counts_for_more():
    reply = Reply(STREAM)
    for said in (b'"x"', b'{"usage": {"prompt_tokens": 7, "completion_tokens":12}}', b"[DONE]"):
        reply.add(b"data: " + said + b"\n\n")
    assert (reply.output_tokens(reply.usage()), reply.usage()["prompt_tokens"]) == (12, 7)
    reply = Reply(WHOLE)
    reply.add(b'{"text": "say \\"completion_tokens\\": 5", "usage": {"completion_tokens": 3')
    reply.add(b'4, "prompt_tokens_details": {"cached_tokens": 16}}}')
    assert (reply.output_tokens(reply.usage()), reply.usage()["cached_tokens"]) == (34, 16)
    assert Reply(WHOLE).output_tokens({}) == 0


@given(st.lists(st.integers(0, 9), max_size=200), st.lists(st.integers(0, 9), max_size=200))
def test_prompts_share_the_pieces_of_what_they_share(one, other):
    shared = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(one, other, strict=False)))
    for make, size in ((list, PIECE_TOKENS), (lambda ids: "".join(map(str, ids)), PIECE_BYTES)):
        mine, theirs = (prompt_of({"prompt": make(ids)}, 0.25) for ids in (one, other))
        same = sum(a == b for a, b in zip(mine.pieces, theirs.pieces, strict=False))
        expected = shared // size + (one == other and len(one) % size > 0)
        assert same == expected
        assert mine.pieces == prompt_of({"prompt": make(one)}, 0.25).pieces


def test_what_is_no_prompt_is_one_of_nothing():
    for body in ({}, {"prompt": None}, {"prompt": [[]]}, {"prompt": {}}, {"messages": 7}):
        assert prompt_of(body, 0.25).tokens == 0.0
    assert prompt_of({"prompt": ["a" * 8, "b" * 8]}, 0.25).tokens == 4.0
    assert prompt_of({"prompt": [[1, 2], [3]]}, 0.25).tokens == 3.0
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 400}]}]}
    assert prompt_of(parts, 0.25).tokens > 100
    models = [prompt_of({"prompt": "x", "model": name}, 0.25).pieces for name in "ab"]
    assert models[0] != models[1]


def test_tokens_per_byte_are_learned():
    learned = TokensPerByte()
    for _ in range(200):
        learned.add(1000, 500)
    learned.add(0, 5)
    assert learned.value == pytest.approx(0.5, rel=1e-3)


def test_a_cache_forgets_what_it_has_no_room_for():
    replicas = [Replica(f"http://h:{port}", cache_tokens=256) for port in (1, 2)]
    old, new = (prompt_of({"prompt": [token] * 128}, 0) for token in (1, 2))

    def sent(prompt) -> None:
        replicas[0].sent_tokens += prompt.tokens
        prefix_index.sent(prompt, replicas[0], 1)

    def matched(prompt, num_gateways: int = 1) -> list[int]:
        return prefix_index.matched(prompt, replicas, num_gateways)

    sent(old)
    assert matched(old) == [128, 0]
    assert matched(prompt_of({"prompt": [1] * 100}, 0)) == [64, 0]
    sent(new)
    assert (matched(old), matched(new)) == ([128, 0], [128, 0])
    assert matched(old, num_gateways=2) == [0, 0]  # the other one sent as much
    replicas[0].sent_tokens += 128
    assert (matched(old), matched(new)) == ([0, 0], [128, 0])
    sent(prompt_of({"prompt": [3] * 64}, 0))
    assert len(replicas[0].pieces) == 3  # nor is it remembered
    replicas[0].forget()
    assert matched(new) == [0, 0]


def test_engines_are_read():
    text = """# HELP vllm:num_requests_running Number of requests
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a"} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 4.0
vllm:num_requests_waiting{model_name="a"} 2
vllm:gpu_cache_usage_perc{model_name="a"} 0.5
vllm:prefix_cache_queries_total{model_name="a"} 10
vllm:prefix_cache_hits_total{model_name="a"} 4
vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1
"""
    assert read(text) == {
        **{"running": 7, "waiting": 2, "kv_usage": 0.5, "cache_tokens": 1600},
        **{"prefix_queries": 10, "prefix_hits": 4},
    }
    for value in ("NaN", "+Inf", "-1", "1.5"):
        assert "kv_usage" not in read(text.replace("0.5", value))
    assert read("") == {}
    assert "cache_tokens" not in read(text.replace('"100"', '"None"'))
    with pytest.raises(ValueError, match="Prometheus's format"):
        read("vllm:num_requests_running{ 3\n")


@given(st.text(max_size=200))
def test_metrics_of_any_text_are_read_or_refused(text):
    with suppress(ValueError):
        assert isinstance(read(text), dict)


def test_headers_of_a_connection_stay_there():
    headers = [
        *((b"connection", b"close, X-One"), (b"x-one", b"1"), (b"te", b"trailers")),
        *((b"x-two", b"2"), (b"authorization", b"Bearer x"), (b"content-length", b"3")),
    ]
    assert end_to_end(headers) == headers[3:]
    assert to_replica(headers, Tokens()) == headers[3:5]
    assert to_replica(headers, Tokens("ours")) == headers[3:4]
    assert to_replica(headers, Tokens(replicas="y"))[-1] == (b"authorization", b"Bearer y")


def test_at_most_half_of_the_replicas_are_ejected():
    replicas = [Replica(f"http://h:{port}") for port in range(1, 6)]
    watched = Health(replicas)
    for replica in replicas:
        for _ in range(9):
            watched.failed(replica, 0.0)
    assert [each.is_available(1.0) for each in replicas] == [False] * 2 + [True] * 3
    assert watched.ejected["failures"] == 2
    assert all(each.is_available(11.0) for each in replicas)
    for _ in range(9):
        watched.failed(replicas[0], 11.0)
    assert not replicas[0].is_available(11.0 + 15.0)  # twice as long


@pytest.mark.parametrize(("name", "count"), [("ttft_s", "answers"), ("tpot_s", "completed")])
def test_a_replica_that_is_alive_but_slow_is_ejected(name, count):
    replicas = [Replica(f"http://h:{port}") for port in range(1, 5)]
    watched = Health(replicas)
    for replica, took_s in zip(replicas, (8.1, 1.0, 0.9, 1.2), strict=True):
        setattr(replica, name, took_s)
    watched.succeeded(replicas[0], 0.0)
    assert replicas[0].is_available(0.0)  # there is too little to compare
    for replica in replicas:
        setattr(replica, count, 20)
    for replica in replicas:
        watched.succeeded(replica, 0.0)
    assert [each.is_available(0.0) for each in replicas] == [False, True, True, True]
    replicas[1].speed = 0.1  # of which one knows that it is slow
    setattr(replicas[1], name, 9.0)
    watched.succeeded(replicas[1], 0.0)
    assert replicas[1].is_available(0.0)
    assert watched.ejected == {"slow": 1}
    for replica in replicas:
        setattr(replica, name, getattr(replica, name) / 1e3)
    setattr(replicas[3], name, 0.04)
    watched.succeeded(replicas[3], 0.0)  # much slower, but nobody would notice
    assert watched.ejected == {"slow": 1}


@pytest.mark.parametrize("url", ["ftp://h:1", "http://", "h:1", "http://h:1/v1", "http://h:x", ""])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match=re.escape(f"replica is {url!r}")):
        Address(url)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"heuristic": "best"}, "heuristic"),
        ({"mode": "often"}, "name"),
        ({"share": 2.0}, "share"),
        ({"replicas": ("http://h:1",), "speeds": (1.0, 2.0)}, "speeds"),
        ({"gateway": 1}, "gateway"),
        ({"problem": "tetris"}, "problem"),
        ({"timing": Path("nowhere.json")}, "nowhere.json holds no timing"),
        ({"scrape_s": 0.0}, "scrape_s"),
        ({"exploration": 1.5}, "exploration"),
    ],
)
def test_a_bad_setting_is_named(change, named):
    with pytest.raises(ValueError, match=named):
        GatewaySettings(**change)


def test_a_policy_sees_the_timing_that_it_was_trained_for(tmp_path):
    """What it would mean to send a request somewhere follows from it."""
    path = tmp_path / "timing.json"
    path.write_text('{"tokens": [1, 100], "ms": [20, 119], "per_context_ms": 0.5}')
    usual, timed = GatewaySettings().config, GatewaySettings(timing=path).config
    assert (usual, timed.timing_path) == (PRESETS["long"], str(path))
    seen = measured([1.0, 0.0], request_prompt_tokens=100.0, prompt_tokens=[60.0, 0.0])
    about = estimates(seen, timed)
    assert np.allclose(about.wait_s, (20.0 + 100.0) / 1e3)
    assert np.allclose(about.token_s, (20.0 + 0.5 * np.array([160.0, 100.0])) / 1e3)


def test_beyond_loopback_a_token_is_needed():
    with pytest.raises(ValueError, match="RL_TOKEN"):
        check("0.0.0.0", 8000, "")
    with pytest.raises(ValueError, match="port"):
        check("127.0.0.1", 0, "")
    check("0.0.0.0", 8000, "secret")
