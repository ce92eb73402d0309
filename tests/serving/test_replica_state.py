"""Ten plain numbers, one encoding, and the reward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlserve.serving.replica_state import checked, encoded, features, plain, reward

README = [5, 3, 7, 12, 0.28, 8.2, 0.98, 0.5, 0.4, 0.5]


def test_the_example_of_the_service_is_a_state():
    made = plain([5, 3, 7], 12, 0.28, 8.2, 0.98, time_of_day=0.5)
    assert made == checked(README, 3) == README
    assert [name for name, _ in features(3)][:5] == [
        *("load_1", "load_2", "load_3", "queue_depth", "latency")
    ]


def test_two_replicas_have_ten_numbers_and_more_have_more():
    assert len(plain([5, 3])) == len(plain([5, 3, 7])) == 10
    assert len(plain([1] * 5)) == 12
    assert plain([5, 3])[2] == 0.0
    checked(plain([5, 3]), 2)
    checked(plain([1] * 5), 5)


@given(
    loads=st.lists(st.floats(0, 1e9), min_size=1, max_size=8),
    rest=st.tuples(*[st.floats(0, 1e9)] * 3),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_every_state_is_encoded_within_its_bounds_and_in_order(loads, rest, shares):
    state = checked(plain(loads, *rest, *shares), len(loads))
    seen = encoded(state)
    assert seen.dtype == np.float32
    assert ((seen >= 0.0) & (seen <= 1.0)).all()
    more = list(state)
    more[0] = 2 * more[0] + 1.0
    assert encoded(more)[0] >= seen[0]
    np.testing.assert_array_equal(encoded([state, more]), [seen, encoded(more)])
    np.testing.assert_allclose(seen[-4:], shares, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (0, -1.0, "load_1 is -1"),
        (4, float("nan"), "latency is nan"),
        (5, float("inf"), "rps is inf"),
        (6, 1.2, "success_rate is 1.2; allowed is a number from 0 to 1"),
        (9, 25.0, "time_of_day is 25"),
    ],
)
def test_what_is_out_of_range_is_named(at, value, said):
    state = list(map(float, README))
    state[at] = value
    with pytest.raises(ValueError, match=said):
        checked(state, 3)


def test_a_state_of_others_is_refused():
    with pytest.raises(ValueError, match="state has 9 numbers; one of 3 replicas has 10"):
        checked(README[:9], 3)
    with pytest.raises(ValueError, match="loads of more than 2 replicas"):
        checked(README, 2)


@pytest.mark.parametrize(
    ("latency_ms", "success", "loads", "expected"),
    [
        (265.3, True, [5, 4, 7], 0.57914),
        (265.3, True, [5, 5, 5], 0.7347),
        (1500.0, True, [0, 0], -0.5),
        (250.0, True, [20, 0, 0], -8.13889),
        (250.0, True, [0, 0, 50], -10.0),  # never worse than a failure
        (100.0, False, [0, 0], -10.0),
        (250.0, True, [9], 0.75),
    ],
)
def test_rewards(latency_ms, success, loads, expected):
    assert reward(latency_ms, success, loads) == pytest.approx(expected, abs=1e-5)
