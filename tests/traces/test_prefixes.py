"""Requests with prefixes: what their prompts share, and how a trace of them is cut."""

import pickle
from itertools import pairwise, takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlserve.traces.llm_requests import LLMRequests


def made(chains: list[list[int]], block_tokens: int = 4, last_tokens: int = 4) -> LLMRequests:
    """A request in each second; the last block of every prompt has so many tokens."""
    depths = np.array([len(chain) for chain in chains], np.int64)
    columns = {
        "time_s": np.arange(len(chains)),
        "prompt_tokens": np.maximum(depths * block_tokens - (block_tokens - last_tokens), 0),
        "output_tokens": np.arange(len(chains)) + 1,
        "session": np.full(len(chains), -1),
    }
    ids = np.array([i for chain in chains for i in chain], np.int64)
    return LLMRequests(
        columns, float(len(chains)), 0.0, ids, np.append(0, depths.cumsum()), block_tokens
    )


def chain_nodes(trace: LLMRequests, row: int) -> list[int]:
    return trace.chain_nodes[trace.block_starts[row] : trace.block_starts[row + 1]].tolist()


def in_common(one: list, other: list) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


# What prompts share -------------------------------------------------------------------------------

CHAINS = st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=12)


@given(chains=CHAINS, offset=st.sampled_from([0, -(2**63), 2**63 - 3]))
def test_two_requests_share_a_node_if_all_ids_up_to_it_agree(chains, offset):
    trace = made([[i + offset for i in chain] for chain in chains])
    of = {}
    for row, chain in enumerate(chains):
        nodes = chain_nodes(trace, row)
        assert len(nodes) == len(chain)
        for k, node in enumerate(nodes):
            assert of.setdefault(node, chain[: k + 1]) == chain[: k + 1]
    distinct = {tuple(chain[: k + 1]) for chain in chains for k in range(len(chain))}
    assert sorted(of) == list(range(len(distinct)))


def test_nodes_of_ids_that_lie_far_apart():
    far = made([[-(2**63), 2**63 - 1], [2**63 - 1], [-(2**63), 2**63 - 1]])
    assert chain_nodes(far, 0) == chain_nodes(far, 2)
    assert len(set(far.chain_nodes.tolist())) == 3


@given(chains=CHAINS, last=st.integers(1, 4), engine_block_tokens=st.integers(1, 5), data=st.data())
def test_hits_are_the_longest_prefix_in_common_with_an_earlier_prompt(
    chains, last, engine_block_tokens, data
):
    trace = made(chains, last_tokens=last)
    prompts = [
        [(i, k) for i in chain for k in range(4)][:tokens]
        for chain, tokens in zip(chains, trace["prompt_tokens"].tolist(), strict=True)
    ]
    expected = []
    for row, prompt in enumerate(prompts):
        common = [in_common(prompt, earlier) for earlier in prompts[:row]]
        longest = min(max(common, default=0), max(len(prompt) - 1, 0))
        expected.append(longest // engine_block_tokens * engine_block_tokens)
    found = trace.prefix_hit_tokens(engine_block_tokens)
    assert found.tolist() == expected
    share = sum(expected) / max(sum(map(len, prompts)), 1)
    assert trace.prefix_hit_share(engine_block_tokens) == pytest.approx(share)


def test_a_prompt_that_ends_in_a_block_that_goes_on_in_the_next():
    """600 tokens of ids 1, 2; then 1,200 of 1, 2, 3: an engine of blocks of 64 finds 9 of them."""
    columns = {"time_s": [0, 1], "prompt_tokens": np.array([600, 1200])}
    columns |= {"output_tokens": np.array([1, 1]), "session": np.array([0, 0])}
    trace = LLMRequests(columns, 2.0, 0.0, np.array([1, 2, 1, 2, 3]), np.array([0, 2, 5]))
    assert trace.prefix_hit_tokens().tolist() == [0, 600]
    assert trace.prefix_hit_tokens(64).tolist() == [0, 576]
    with pytest.raises(ValueError, match="engine_block_tokens is 0; expected at least 1"):
        trace.prefix_hit_tokens(0)


@pytest.mark.slow
def test_a_million_requests_take_seconds():
    rng = np.random.default_rng(0)
    depths = rng.geometric(0.25, 1_000_000)
    starts = np.append(0, depths.cumsum())
    columns = {"time_s": np.arange(1e6), "prompt_tokens": 512 * depths}
    columns |= {"output_tokens": depths, "session": depths}
    trace = LLMRequests(columns, 1e6, 0.0, rng.integers(0, 9, starts[-1]), starts)
    assert 0.5 < trace.prefix_hit_share() < 1.0


# What is cut --------------------------------------------------------------------------------------


def test_steps_agree_on_nodes_and_a_window_counts_its_own():
    trace = made([[1, 2], [3], [], [1, 2, 4], [3, 3]])
    parts = [trace.between(a, b) for a, b in pairwise([0.0, 1.0, 4.0, 5.0])]
    assert [len(part) for part in parts] == [1, 3, 1]
    for name in ("block_ids", "chain_nodes"):
        whole = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(whole, getattr(trace, name))
    for part in parts:
        assert (part.block_starts[0], part.block_starts[-1]) == (0, len(part.block_ids))
        assert np.shares_memory(part.block_ids, trace.block_ids)
    assert chain_nodes(parts[1].between(3.0, 4.0), 0)[:2] == chain_nodes(trace, 0)
    window = trace.window(3.0, 2.0)
    assert (window.start_s, window.end_s, window.time_s.tolist()) == (0.0, 2.0, [0.0, 1.0])
    assert sorted(window.chain_nodes.tolist()) == [0, 1, 2, 3, 4]
    assert window.block_ids.tolist() == [1, 2, 4, 3, 3]
    random = trace.random_window(np.random.default_rng(0), 3.0)
    assert len(random.block_starts) == len(random) + 1 == 4


def test_rows_and_shares_of_a_trace():
    trace = made([[1, 2], [3], [1, 2, 4], [3, 3]])
    first, last = trace.rows(0, 3), trace.rows(3, 4)
    assert (len(first), first.start_s, first.time_s[-1] < first.end_s < 3.0) == (3, 0.0, True)
    assert (last.start_s, last.end_s, last.block_ids.tolist()) == (3.0, 4.0, [3, 3])
    assert chain_nodes(last, 0)[:1] == chain_nodes(trace, 1)
    earlier, later = trace.split(0.5)
    assert (len(earlier), len(later), later.start_s, later.end_s) == (2, 2, 2.0, 4.0)
    assert [len(part) for part in trace.split(1.0)] == [4, 0]
    for start, stop in ((-1, 2), (2, 2), (0, 5)):
        with pytest.raises(ValueError, match=f"rows {start} to {stop}; expected 0 <= start < stop"):
            trace.rows(start, stop)
    with pytest.raises(ValueError, match=r"share is 1.1; expected 0 to 1"):
        trace.split(1.1)


def test_faster_requests_are_the_same_requests():
    trace = made([[1, 2], [3], [1, 2, 4], [3, 3]]).between(1.0, 4.0)
    fast = trace.sped_up(4.0)
    np.testing.assert_allclose(fast.time_s, [1.0, 1.25, 1.5])
    assert (fast.start_s, fast.end_s) == (1.0, pytest.approx(1.75))
    for other in (fast, trace.at_rate(9.0), trace.scaled("output_tokens", 3)):
        np.testing.assert_array_equal(other.chain_nodes, trace.chain_nodes)
        np.testing.assert_array_equal(other["prompt_tokens"], trace["prompt_tokens"])
    assert trace.at_rate(9.0).rate_per_s == pytest.approx(9.0)
    for wrong in (0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"arrival_speedup is {wrong}; expected a positive"):
            trace.sped_up(wrong)


def test_nothing_can_be_written_also_after_pickling():
    trace = made([[1, 2], [3], [1, 2, 4]]).between(1.0, 3.0)
    again = pickle.loads(pickle.dumps(trace))
    fresh = pickle.loads(pickle.dumps(made([[1, 2], [1]])))
    assert repr(again) == "LLMRequests(2 rows, 4 blocks of 4 tokens, [1.0, 3.0) s)"
    for one in (trace, again, fresh, trace.window(1.0, 1.0)):
        for values in (one["session"], one.block_ids, one.block_starts, one.chain_nodes):
            with pytest.raises(ValueError, match="read-only"):
                values[:1] = 0
    np.testing.assert_array_equal(again.chain_nodes, trace.chain_nodes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session": None}, "expected session too"),
        ({"prompt_tokens": [4.0, 8.0]}, "column prompt_tokens is of float64; expected whole"),
        ({"output_tokens": [1, -1]}, "column output_tokens, row 1: -1; expected >= 0"),
        ({"session": [-2, 0]}, "column session, row 0: -2; expected >= -1"),
        ({"prompt_tokens": [4, 9]}, "row 1 has 2 blocks of 4 tokens and 9 .*; expected 3 blocks"),
        (
            {"block_starts": [0, 3]},
            r"block_starts is \(2,\), .*; expected \[3\], from 0 to 3",
        ),
        ({"block_starts": [0, 1, 2]}, r"from 0 to 2; expected \[3\], from 0 to 3"),
        ({"block_starts": [0, 4, 3]}, "row 0 has 4 blocks"),
        ({"block_tokens": 0}, "block_tokens is 0; expected a whole number >= 1"),
        ({"time_s": [1.0, 0.0]}, "column time_s, row 1: 0.0; expected none earlier"),
    ],
)
def test_what_is_wrong_with_columns_and_blocks_is_named(change, message):
    values = {"time_s": [0.0, 1.0], "prompt_tokens": [4, 8], "output_tokens": [1, 1]}
    values |= {"session": [-1, 0], "block_ids": [7, 7, 8], "block_starts": [0, 1, 3]}
    values |= {"block_tokens": 4, **change}
    blocks = {name: values.pop(name) for name in list(values) if name.startswith("block")}
    columns = {name: np.array(column) for name, column in values.items() if column is not None}
    for name in ("block_ids", "block_starts"):
        blocks[name] = np.array(blocks[name])
    with pytest.raises(ValueError, match=message):
        LLMRequests(columns, 2.0, 0.0, **blocks)
