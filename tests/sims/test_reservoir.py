"""Reservoirs: their statistics against numpy, which samples they keep, and how soon they notice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from marlserve.envs.sims.cluster_arrays import LOG
from marlserve.envs.sims.reservoir import FEATURES, RULES, Reservoirs

SIZE = 128


def add(reservoirs, time_s, value_s, pair=0, first=0) -> None:
    """Give one copy's reservoirs samples, in order."""
    samples = np.zeros((1, max(len(value_s), 1)), LOG)
    samples["time_s"][0, : len(value_s)] = time_s
    samples["value_s"][0, : len(value_s)] = value_s
    samples["pair"][0, : len(value_s)] = pair
    reservoirs.add(np.array([len(value_s)]), samples, first)


def features(reservoirs, now_s: float) -> dict[str, np.ndarray]:
    """{name: [R]} of the first copy."""
    return dict(zip(FEATURES, reservoirs.features(np.array([now_s]))[0].T, strict=True))


def expected(time_s, value_s, now_s: float) -> list[float]:
    """The five statistics by numpy."""
    discounted = 0.9 ** (now_s - np.asarray(time_s)) * value_s
    return [
        np.mean(value_s),
        np.percentile(value_s, 90),
        np.std(value_s),
        np.mean(discounted),
        np.percentile(discounted, 90),
    ]


# Statistics --------------------------------------------------------------------------------------


@given(
    number=st.integers(1, SIZE),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    decimals=st.sampled_from([0, 8]),
    span_s=st.floats(0.0, 100.0),
    now_s=st.floats(100.0, 140.0),
)
def test_statistics_are_those_of_numpy(number, seed, scale, decimals, span_s, now_s):
    rng = np.random.default_rng(seed)
    value_s = np.round(rng.lognormal(0.0, 1.0, number), decimals) * scale  # 0 decimals: ties
    time_s = np.sort(rng.uniform(0.0, span_s, number))
    reservoirs = Reservoirs(1, 3, SIZE)
    for part in np.array_split(np.arange(number), 3):  # guesses of earlier times must not matter
        add(reservoirs, time_s[part], value_s[part], pair=1)
        features(reservoirs, now_s)
    for later_s in (now_s, now_s + 1.0, now_s + 30.0):
        computed = features(reservoirs, later_s)
        np.testing.assert_allclose(
            [computed[name][1] for name in FEATURES],
            expected(time_s, value_s, later_s),
            rtol=2e-5,
            atol=1e-6 * scale,
        )
        for name in FEATURES:
            assert computed[name][0] == computed[name][2] == 0.0, "others are empty"


def test_large_values_keep_their_spread():
    """Squares of sums in float32 would give 0 here."""
    reservoirs = Reservoirs(1, 1, SIZE)
    value_s = 1e4 + np.tile([-0.25, 0.25], 64)
    add(reservoirs, np.zeros(SIZE), value_s)
    assert features(reservoirs, 0.0)["std"][0] == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("size", [1, 2, 11])
def test_small_reservoirs(size):
    reservoirs = Reservoirs(1, 1, size)
    value_s = np.arange(1.0, size + 1.0)
    add(reservoirs, np.zeros(size), value_s)
    computed = features(reservoirs, 2.0)
    assert [computed[name][0] for name in FEATURES] == pytest.approx(
        expected(np.zeros(size), value_s, 2.0), rel=1e-5
    )


def test_hours_of_idling_give_zeros_and_no_nan():
    reservoirs = Reservoirs(1, 1, SIZE)
    add(reservoirs, np.linspace(0.0, 1.0, SIZE), np.full(SIZE, 0.1))
    for now_s in (1.0, 900.0, 1000.0, 7200.0, 1e6):
        computed = features(reservoirs, now_s)
        assert all(np.isfinite(values).all() for values in computed.values())
        assert computed["p90"][0] == np.float32(0.1)
        assert computed["mean"][0] == pytest.approx(0.1, rel=1e-6)  # a sum of float32, in any order
    assert computed["discounted_mean"][0] == computed["discounted_p90"][0] == 0.0
    add(reservoirs, np.full(5000, 1e6), np.full(5000, 0.3))  # it works again
    computed = features(reservoirs, 1e6)
    assert computed["discounted_mean"][0] == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("gap_s", [100.0, 240.0, 251.0, 600.0, 3000.0])
def test_ages_survive_the_change_of_base(gap_s):
    """Samples long after the last look, and before and after the base of time moves."""
    reservoirs = Reservoirs(1, 1, SIZE)
    time_s = gap_s + np.array([0.0, 5.0, 249.0, 252.0, 260.0])
    value_s = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    add(reservoirs, time_s[:2], value_s[:2])
    features(reservoirs, time_s[1])
    add(reservoirs, time_s[2:], value_s[2:])
    for now_s in gap_s + np.array([260.0, 270.0, 505.0]):
        computed = features(reservoirs, now_s)
        assert [computed[name][0] for name in FEATURES] == pytest.approx(
            expected(time_s, value_s, now_s), rel=1e-4, abs=1e-30
        )


# Which samples are kept --------------------------------------------------------------------------


def kept(rule: str, number: int, copies: int, size: int = SIZE, keep: float = 1.0) -> np.ndarray:
    """The numbers of the samples that stay of 0, 1, ... number - 1, [copies, size]."""
    reservoirs = Reservoirs(copies, 1, size, rule, keep)
    for copy in range(copies):
        reservoirs.reset(copy, 1000 + copy)
    samples = np.zeros((copies, number), LOG)
    samples["value_s"] = np.arange(number)
    reservoirs.add(np.full(copies, number), samples)
    return reservoirs._values[:, 0].astype(int)


def test_algorithm_r_is_a_uniform_sample_of_all():
    numbers = kept("algorithm_r", 1280, 200)
    assert all(len(set(row)) == SIZE for row in numbers.tolist())
    counts = np.bincount(numbers.ravel() // 128, minlength=10)
    assert 1e-3 < chisquare(counts).pvalue < 1.0 - 1e-3, "too uneven, or too even"


@pytest.mark.parametrize("keep", [1.0, 0.25])
def test_overwrite_leaves_geometric_ages(keep):
    """A sample lives on past the next with probability 1 - keep / size, wherever it lies."""
    number, size = 6000, 32
    ages = number - 1 - kept("overwrite", number, 100, size, keep)
    forgets = keep / size
    assert ages.mean() == pytest.approx((1.0 - forgets) / forgets, rel=0.05)
    # One per copy: within a copy the ages differ, and so depend on each other.
    one = np.random.default_rng(1).permuted(ages, axis=1)[:, 0]
    assert kstest(one, lambda age: 1.0 - (1.0 - forgets) ** (np.floor(age) + 1.0)).pvalue > 1e-3


def test_the_rules_agree_until_the_reservoir_is_full():
    for rule in RULES:
        np.testing.assert_array_equal(kept(rule, SIZE, 1)[0], np.arange(SIZE))


def test_a_doubled_duration_is_noticed_soon_only_if_old_samples_fade():
    """71 flows a second of mean 0.1 s for 600 s, then of mean 0.2 s."""
    rng, rate_per_s = np.random.default_rng(0), 71.0
    means = {}
    for rule in RULES:
        reservoirs = Reservoirs(1, 1, SIZE, rule)
        reservoirs.reset(0, 5)
        time_s = np.arange(0.0, 700.0, 1.0 / rate_per_s)
        value_s = rng.exponential(np.where(time_s < 600.0, 0.1, 0.2))
        add(reservoirs, time_s[time_s < 600.0], value_s[time_s < 600.0])
        assert features(reservoirs, 600.0)["mean"][0] == pytest.approx(0.1, rel=0.3)
        for start_s, end_s in ((600.0, 605.0), (605.0, 700.0)):
            new = (time_s >= start_s) & (time_s < end_s)
            add(reservoirs, time_s[new], value_s[new])
            means[rule, end_s] = features(reservoirs, end_s)["mean"][0]
    assert means["overwrite", 605.0] > 0.16
    assert means["overwrite", 700.0] == pytest.approx(0.2, rel=0.3)
    assert means["algorithm_r", 605.0] < 0.13
    assert means["algorithm_r", 700.0] < 0.15


# Copies, repetition and errors -------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_the_same_seed_keeps_the_same_in_any_batch(rule):
    rng = np.random.default_rng(2)
    samples = np.zeros((3, 900), LOG)
    samples["value_s"] = rng.exponential(1.0, samples.shape)
    samples["time_s"] = np.sort(rng.uniform(0.0, 9.0, samples.shape))
    samples["pair"] = rng.integers(4, size=samples.shape)
    batch, alone = Reservoirs(3, 8, 32, rule), Reservoirs(1, 8, 32, rule)
    for _ in range(2):  # after a reset all begins again
        for copy, seed in enumerate([7, 2**63, 11]):
            batch.reset(copy, seed)
        alone.reset(0, 11)
        assert not batch.features(np.zeros(3)).any()
        for part in np.array_split(np.arange(900), 7):
            batch.add(np.full(3, len(part)), samples[:, part], first=4)
            alone.add(np.full(1, len(part)), samples[2:, part], first=4)
        together, single = batch.features(np.full(3, 9.5)), alone.features(np.array([9.5]))
        np.testing.assert_array_equal(together[2], single[0])
        assert (together[0] != together[2]).any()
        assert not together[:, :4].any()


def test_what_is_returned_is_the_callers():
    reservoirs = Reservoirs(1, 1)
    add(reservoirs, [0.0], [1.0])
    seen = reservoirs.features(np.zeros(1))
    seen[:] = -1.0
    assert reservoirs.features(np.zeros(1))[0, 0, 0] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "newest"}, r"rule is 'newest'; allowed are \('overwrite', 'algorithm_r'\)"),
        ({"size": 0}, "size is 0"),
        ({"keep": 0.0}, "keep is 0.0"),
        ({"keep": 1.5}, "keep is 1.5"),
        ({"keep": float("nan")}, "keep is nan"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Reservoirs(1, 1, **arguments)
