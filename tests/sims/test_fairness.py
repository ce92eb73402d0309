"""Fairness measures: hand-made values, bounds, invariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from marlserve.envs.sims.fairness import MEASURES, jain_index, product_fairness

NAMES = sorted(MEASURES)
IN_THE_LOADS_UNIT = {"variance", "exp_variance", "value_range"}
SCALE_FREE = sorted(set(NAMES) - IN_THE_LOADS_UNIT)
FAIR = {
    name: 1.0 if measure.larger_is_fairer or name == "max_mean" else 0.0
    for name, measure in MEASURES.items()
}
ROUNDING = 1e-9

amounts = st.just(0.0) | st.floats(1e-3, 1e3)
loads = arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=9), elements=amounts)
rows = arrays(np.float64, st.integers(1, 9), elements=amounts)


def bounds(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range that the docstring of the measure states."""
    size, peak = x.shape[-1], x.max(-1)
    low, high = {
        "jain_index": (1.0 / size, 1.0),
        "coefficient_of_variation": (0.0, np.sqrt(size - 1.0)),
        "max_mean": (1.0, size),
        "variance": (0.0, peak**2 / 4.0),
        "value_range": (0.0, peak),
        "gini": (0.0, 1.0 - 1.0 / size),
    }.get(name, (0.0, 1.0))
    return np.broadcast_to(low, peak.shape), np.broadcast_to(high, peak.shape)


LOADS_2_1_5 = {  # mean 8/3, sum of squares 30
    "jain_index": 64.0 / (3 * 30.0),
    "coefficient_of_variation": np.sqrt(26.0 / 9.0) / (8.0 / 3.0),
    "max_min": 1.0 / 5.0,
    "max_mean": 15.0 / 8.0,
    "product_fairness": 2.0 / 25.0,
    "variance": 26.0 / 9.0,
    "exp_variance": np.exp(-26.0 / 9.0),
    "value_range": 4.0,
    "gini": 2 * (1 + 3 + 4) / (2 * 9 * (8.0 / 3.0)),
}


@pytest.mark.parametrize("name", NAMES)
def test_loads_2_1_5_by_hand(name):
    expected = LOADS_2_1_5[name]
    assert MEASURES[name].function(np.array([2.0, 1.0, 5.0])) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_jain_index_of_k_busy_servers_is_their_share(k):
    assert jain_index(np.arange(8) < k) == pytest.approx(k / 8)


def test_jain_index_of_uniform_noise():
    """What 16 servers with random loads in [8, 18] score: high, and no sign of any control."""
    noise = np.random.default_rng(0).uniform(8.0, 18.0, (20_000, 16))
    assert jain_index(noise).mean() == pytest.approx(0.9556, abs=0.001)


# What is drawn is looked at by all measures: to draw it takes longer.


@given(x=loads)
def test_one_finite_value_for_each_row_in_the_stated_range(x):
    for name in NAMES:
        values = MEASURES[name].function(x)
        low, high = bounds(name, x)
        assert np.shape(values) == x.shape[:-1], name
        assert values.dtype == np.float64, name
        assert (values >= low - ROUNDING * (1.0 + low)).all(), name
        assert (values <= high + ROUNDING * (1.0 + high)).all(), name


@given(x=rows, data=st.data())
def test_the_order_of_the_servers_does_not_matter(x, data):
    shuffled = np.array(data.draw(st.permutations(x.tolist())))
    assert_alike(NAMES, shuffled, x)


@given(x=rows, factor=st.floats(1e-150, 1e150))
def test_the_unit_of_the_loads_does_not_matter(x, factor):
    assert_alike(SCALE_FREE, x * factor, x)


def assert_alike(names, x, y):
    """Two rows by these measures."""
    for name in names:
        function = MEASURES[name].function
        assert function(x) == pytest.approx(function(y), rel=1e-6, abs=ROUNDING), name


@pytest.mark.parametrize("name", sorted(IN_THE_LOADS_UNIT))
def test_the_unit_of_the_loads_matters(name):
    function = MEASURES[name].function
    assert function(np.array([0.1, 0.2])) != pytest.approx(function(np.array([0.2, 0.4])))


@given(load=amounts, size=st.integers(1, 20))
def test_equal_loads_are_fair_and_so_are_one_server_and_an_idle_system(load, size):
    for name in NAMES:
        value = MEASURES[name].function(np.full(size, load))
        assert value == pytest.approx(FAIR[name], abs=ROUNDING), name


@given(x=rows)
def test_nothing_is_fairer_than_equal_loads(x):
    for name in NAMES:
        value = MEASURES[name].function(x)
        if MEASURES[name].larger_is_fairer:
            assert value <= FAIR[name] + ROUNDING, name
        else:
            assert value >= FAIR[name] - ROUNDING, name


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_rows(name):
    function = MEASURES[name].function
    x = np.random.default_rng(0).exponential(size=(5, 4, 16))
    x[2, 1] = 0.0
    x[3, 2, 5] = 0.0
    alone = [[function(row) for row in matrix] for matrix in x]
    np.testing.assert_allclose(function(x), alone, rtol=1e-12)
    assert function(np.empty((0, 4))).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_loads_are_left_as_they_were(name):
    x = np.array([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    MEASURES[name].function(x)
    np.testing.assert_array_equal(x, [[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf, -np.inf])
def test_a_bad_load_is_named(name, bad):
    x = np.ones((2, 3))
    x[1, 2] = bad
    with pytest.raises(ValueError, match=rf"load at index \[1, 2\] is {bad}"):
        MEASURES[name].function(x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0,), (4, 0)])
def test_no_server_is_an_error(name, shape):
    with pytest.raises(ValueError, match="at least one server"):
        MEASURES[name].function(np.ones(shape))


def test_product_fairness_falls_when_one_server_slows_down():
    assert product_fairness(np.array([1.0, 1.0, 2.0])) < product_fairness(np.array([1.0, 1.0, 1.1]))
