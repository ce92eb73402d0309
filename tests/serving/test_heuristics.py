"""The rules of the routing problem, as chances on plain numbers."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlserve.serving.decisions.heuristics import NAMES, Heuristic
from marlserve.serving.decisions.question import measured

LOADS = st.lists(st.integers(0, 9), min_size=1, max_size=6)


@given(name=st.sampled_from(NAMES), loads=LOADS, data=st.data())
def test_chances_are_of_what_is_allowed_and_sum_to_one(name, loads, data):
    allowed = data.draw(st.lists(st.booleans(), min_size=len(loads), max_size=len(loads)))
    allowed[-1] = True
    shares = Heuristic(name).probabilities(measured(loads), np.array(allowed))
    assert shares.shape == (len(loads),)
    assert shares.sum() == pytest.approx(1.0)
    assert not shares[~np.array(allowed)].any()


@given(loads=LOADS)
def test_the_fewest_requests_share(loads):
    shares = Heuristic("least_requests").probabilities(measured(loads), np.ones(len(loads), bool))
    fewest = np.array(loads) == min(loads)
    np.testing.assert_allclose(shares, fewest / fewest.sum())


@given(loads=LOADS.filter(lambda x: len(x) > 1))
def test_power_of_two_is_the_better_of_any_pair(loads):
    expected = np.zeros(len(loads))
    pairs = list(combinations(range(len(loads)), 2))
    for i, j in pairs:
        if loads[i] == loads[j]:
            expected[[i, j]] += 0.5 / len(pairs)
        else:
            expected[i if loads[i] < loads[j] else j] += 1.0 / len(pairs)
    shares = Heuristic("power_of_two").probabilities(measured(loads), np.ones(len(loads), bool))
    np.testing.assert_allclose(shares, expected)


@pytest.mark.parametrize("name", ["prefix_affinity", "cache_aware"])
def test_a_known_prefix_draws_its_request(name):
    known = {"request_prompt_tokens": 1000, "matched_tokens": [0, 0, 800]}
    known["prompt_tokens"] = [900, 0, 2000]
    everywhere = np.ones(3, bool)
    assert Heuristic(name).probabilities(measured([1, 0, 2], **known), everywhere)[2] == 1.0
    known["matched_tokens"] = [0, 0, 0]
    assert Heuristic(name).probabilities(measured([1, 0, 2], **known), everywhere)[2] == 0.0


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="heuristic is 'best'; allowed is one of"):
        Heuristic("best")
    with pytest.raises(ValueError, match="one number for each replica"):
        measured([])
    with pytest.raises(ValueError, match=r"speed has shape \(2,\); expected is \(3,\)"):
        measured([1, 2, 3], speed=[1.0, 2.0])
