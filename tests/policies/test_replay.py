"""Sequence arrays and their replay: padding, trimming, the ring, and its state."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlserve.policies.sampling.replay import SequenceReplay
from marlserve.policies.sampling.sequences import (
    ACTION_MASK,
    ACTIONS,
    ACTIVE,
    FIRST,
    HIDDEN,
    LENGTH,
    OBS,
    REWARDS,
    STATE,
    TERMINATED,
    Sequences,
)


def sequences(lengths, first_id=1, num_steps=5, seed=0, dtype=np.float32) -> Sequences:
    """Rows of 2 agents with random entries; row i has first_id + i in all its rewards."""
    rng, rows = np.random.default_rng(seed), len(lengths)
    lengths = np.asarray(lengths)
    seen = np.arange(num_steps + 1) <= lengths[:, None]
    done = seen[:, 1:]
    identity = first_id + np.arange(rows)
    columns = {
        OBS: rng.random((rows, num_steps + 1, 2, 3)) * seen[..., None, None],
        STATE: rng.random((rows, num_steps + 1, 4)) * seen[..., None],
        ACTIVE: np.repeat(seen[..., None], 2, -1),
        ACTION_MASK: np.ones((rows, num_steps + 1, 2, 1, 3), bool) & seen[..., None, None, None],
        ACTIONS: rng.integers(3, size=(rows, num_steps, 2)) * done[..., None],
        REWARDS: (identity[:, None] * done)[..., None].repeat(2, -1),
        TERMINATED: rng.random(rows) < 0.5,
        LENGTH: lengths,
        FIRST: rng.random(rows) < 0.5,
        HIDDEN: rng.random((rows, 2, 6)),
    }
    floats = (OBS, STATE, REWARDS, HIDDEN)
    return Sequences({n: c.astype(dtype) if n in floats else c for n, c in columns.items()})


def assert_equal(a: Sequences, b: Sequences):
    assert a.columns.keys() == b.columns.keys()
    for name in a.columns:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def identities(rows: Sequences) -> list[int]:
    return rows[REWARDS][:, 0, 0].astype(int).tolist()


def test_counts_of_steps():
    rows = sequences([1, 5, 3])
    assert len(rows) == 3
    assert rows.num_steps == 5
    assert rows.env_steps() == 9
    assert rows.agent_steps() == 18
    rows[ACTIVE][1, 2:, 0] = False
    assert rows.agent_steps() == 15
    assert rows.valid().sum(1).tolist() == [1, 5, 3]


def test_rows_are_trimmed_and_padded():
    rows = sequences([1, 5, 3])
    short = rows.rows(np.array([0, 2]))
    assert short.num_steps == 3
    assert short[OBS].shape[1] == short[ACTION_MASK].shape[1] == 4
    assert short[HIDDEN].shape == (2, 2, 6)
    again = Sequences.concatenate([short, rows.rows(slice(1, 2))])
    assert_equal(again, rows.rows(np.array([0, 2, 1])))
    assert len(rows.rows(slice(0, 0))) == 0


def test_only_like_columns_are_concatenated():
    with pytest.raises(ValueError, match="no sequences"):
        Sequences.concatenate([])
    other = sequences([2])
    del other.columns[HIDDEN]
    with pytest.raises(ValueError, match="different columns"):
        Sequences.concatenate([sequences([2]), other])


@given(
    capacity=st.integers(1, 7),
    batches=st.lists(st.lists(st.integers(1, 5), max_size=9), min_size=1, max_size=6),
)
def test_the_ring_holds_the_newest_rows(capacity, batches):
    replay, all_rows = SequenceReplay(capacity, seed=0), []
    for number, lengths in enumerate(batches):
        rows = sequences(lengths, 1 + sum(len(b) for b in all_rows), 5, seed=number)
        all_rows.append(rows)
        replay.add(rows)
    everything = Sequences.concatenate(all_rows)
    assert len(replay) == min(capacity, len(everything))
    if not len(replay):
        return
    newest = everything.rows(slice(-len(replay), None))
    drawn = replay.sample(200)
    assert set(identities(drawn)) == set(identities(newest))
    assert drawn.num_steps == drawn[LENGTH].max()
    position = np.array([identities(everything).index(i) for i in identities(drawn)])
    assert_equal(drawn, everything.rows(position))
    stored = replay.everything()
    position = np.array([identities(everything).index(i) for i in identities(stored)])
    assert sorted(identities(stored)) == identities(newest)
    assert_equal(stored, everything.rows(position))


def test_rows_of_any_length_fit():
    replay = SequenceReplay(3, seed=0)
    replay.add(sequences([2], 1, num_steps=2))
    replay.add(sequences([5], 2, num_steps=5))
    replay.add(sequences([1, 3], 3, num_steps=3))  # the second one in place of the first row
    drawn = replay.sample(50)
    assert set(identities(drawn)) == {2, 3, 4}
    for identity, length in ((2, 5), (3, 1), (4, 3)):
        row = drawn.rows(np.array(identities(drawn)) == identity)
        assert set(row[LENGTH]) == {length}
        assert not row[OBS][:, length + 1 :].any()
        assert not drawn[REWARDS][drawn[LENGTH] == length][:, length:].any()


def test_a_sample_is_a_copy():
    replay = SequenceReplay(2, seed=0)
    replay.add(sequences([5, 5]))
    replay.sample(2)[OBS][:] = -1
    assert (replay.sample(9)[OBS] >= 0).all()


def test_sampling_is_uniform():
    replay = SequenceReplay(10, seed=3)
    replay.add(sequences([5] * 10))
    counts = np.bincount(identities(replay.sample(20_000)), minlength=11)[1:]
    # Binomial with mean 2000 and standard deviation 42: five of them.
    assert (abs(counts - 2000) < 212).all()


@pytest.mark.parametrize("added", [0, 3, 11])
def test_a_restored_replay_goes_on_alike(added):
    replay, restored = SequenceReplay(4, seed=1), SequenceReplay(4, seed=2)
    for number in range(added):
        replay.add(sequences([1 + number % 5], number + 1, seed=number))
    if added:
        replay.sample(3)
    state = pickle.loads(pickle.dumps(replay.get_state()))
    restored.add(sequences([5] * 4, 100))
    restored.set_state(state)
    assert len(restored) == len(replay) == min(4, added)
    for number in range(6):
        rows = sequences([5 - number % 5], 50 + number, seed=number)
        replay.add(rows)
        restored.add(rows)
        assert_equal(replay.sample(8), restored.sample(8))


def test_the_state_is_compact():
    replay = SequenceReplay(100_000)
    replay.add(sequences([2, 3], num_steps=5))
    assert len(pickle.dumps(replay.get_state())) < 5_000


def test_what_a_replay_refuses():
    with pytest.raises(ValueError, match="capacity is 0"):
        SequenceReplay(0)
    replay = SequenceReplay(4)
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1)
    with pytest.raises(ValueError, match="empty"):
        replay.everything()
    replay.add(sequences([2, 2]))
    with pytest.raises(ValueError, match="num_rows is 0"):
        replay.sample(0)
    other = sequences([2])
    del other.columns[HIDDEN]
    with pytest.raises(ValueError, match="columns are"):
        replay.add(other)
    other = sequences([2])
    other.columns[OBS] = other[OBS][..., :2]
    with pytest.raises(ValueError, match="'obs' holds"):
        replay.add(other)
    with pytest.raises(ValueError, match="float64"):
        replay.add(sequences([2], dtype=np.float64))
    assert identities(replay.sample(20)).count(1) + identities(replay.sample(20)).count(2) > 0
    with pytest.raises(ValueError, match="capacity 4"):
        SequenceReplay(5).set_state(replay.get_state())
