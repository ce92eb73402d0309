"""Intervals hold what they say, never leave a metric's bounds, and ranks follow from them."""

import coverages
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from result_rows import row, rows_of
from scipy.stats import t

from marlserve.experiments.reports import statistics
from marlserve.experiments.reports.statistics import FEWEST, NONE, POSITIVE, Sample
from marlserve.experiments.reports.table import caption, ratios, table

UNIT = (0.0, 1.0)


def sample(*rows, learned=None):
    values = np.array(rows, float)
    return Sample(values, learned=len(values) > 1 if learned is None else learned)


@st.composite
def played(draw):
    """Learned policies and heuristics on the same episodes: {name: {seed or None: values}}."""
    episodes, found = draw(st.integers(2, 8)), {}
    numbers = st.floats(0.0, 1.0, allow_subnormal=False)
    for name in "abcd"[: draw(st.integers(2, 4))]:
        seeds = draw(st.sampled_from([None, 1, FEWEST, FEWEST + 2]))
        values = draw(arrays(float, (seeds or 1, episodes), elements=numbers))
        found[name] = {None: values[0]} if seeds is None else dict(enumerate(values))
    return pd.concat([rows_of(*x) for x in found.items()], ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("spread", coverages.SPREADS)
@pytest.mark.parametrize("kind", coverages.KINDS)
def test_intervals_hold_what_they_say(kind, spread):
    for seeds, episodes in (coverages.SIZES[0], coverages.SIZES[-1]):
        shares = coverages.coverage(kind, coverages.SPREADS[spread], seeds, episodes, 2000)
        assert shares.min() >= 0.92, (seeds, episodes, shares)
        assert shares.max() <= 0.97, (seeds, episodes, shares)


def test_of_one_row_the_interval_is_student_s():
    values = np.random.default_rng(0).normal(size=12)
    found = statistics.mean(sample(values))
    reach = t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))


def test_where_only_seeds_differ_the_interval_is_student_s_over_seeds():
    seeds = np.array([1.0, 2.0, 4.0, 5.0, 9.0])
    found = statistics.mean(sample(*np.repeat(seeds[:, None], 20, axis=1)))
    reach = t.ppf(0.975, 4) * seeds.std(ddof=1) / np.sqrt(5)
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))


def test_the_standard_error_is_that_of_the_mean_squares():
    values = np.random.default_rng(1).normal(size=(6, 9)) + np.arange(6)[:, None] + np.arange(9)
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    left = values - rows[:, None] - columns + values.mean()
    squares = [9 * rows.var(ddof=1), 6 * columns.var(ddof=1), (left**2).sum() / 40]
    total = squares[0] + squares[1] - squares[2]
    freedom = total**2 / sum(x**2 / n for x, n in zip(squares, (5, 8, 40), strict=True))
    error, found = statistics.standard_error([1.0], [sample(*values)])
    assert error == pytest.approx(np.sqrt(total / 54))
    assert found == pytest.approx(freedom)


def test_fewer_than_five_seeds_give_their_range():
    seeds = [[1.0, 2.0], [4.0, 3.0], [2.0, 2.5]]
    x, y = sample(*seeds), sample([1.0, 1.0])
    found = statistics.mean(x, POSITIVE)
    assert (found.value, found.low, found.high) == pytest.approx((7.25 / 3, 1.5, 3.5))
    other = statistics.difference(x, y)
    assert (other.low, other.high) == pytest.approx((0.5, 2.5))
    result = table(rows_of("a", dict(enumerate(seeds))), ["m"])
    assert row(result, "a")[["m_low", "m_high"]].tolist() == [1.5, 3.5]
    assert "fewer than 5 seeds give no interval" in caption(result)
    assert "fewer" not in caption(table(rows_of("a", {i: [1.0, 2.0] for i in range(5)}), ["m"]))


def test_pairs_are_told_apart_where_the_policies_are_not():
    episodes = np.random.default_rng(0).normal(size=30)
    x, y = sample(episodes), sample(episodes + 0.01 + 1e-3 * np.sin(np.arange(30)))
    assert statistics.mean(x).low < statistics.mean(y).low < statistics.mean(x).high
    assert statistics.are_apart(x, y)
    assert not statistics.are_apart(x, sample(np.roll(episodes, 1) + 0.01))


def test_trainings_that_happen_to_agree_do_not_speak_for_all_episodes():
    noise = np.random.default_rng(0).normal(size=20)
    x, y = sample(*(noise + seed for seed in (1.0, 1.01))), sample(noise[::-1] * 9)
    assert statistics.difference(x, y).low > 0.0
    assert not statistics.are_apart(x, y)


def test_a_window_that_is_played_again_tells_nothing_new():
    once, often = np.random.default_rng(0).normal(size=(2, 6)), [1, 4, 2, 2, 1, 3]
    windows = np.repeat(np.arange(6), often)
    values = statistics.by_window(once[:, windows], windows)
    assert values.shape == (2, 6)
    np.testing.assert_allclose(values.mean(axis=1), np.average(once, axis=1, weights=often))
    same = statistics.by_window(np.repeat(once, 3, axis=1), np.repeat(np.arange(6), 3))
    np.testing.assert_allclose(same, once)


@given(st.integers(FEWEST, 7), st.integers(1, 9), st.data())
def test_no_interval_leaves_the_bounds(seeds, episodes, data):
    def drawn(count):
        return Sample(
            data.draw(arrays(float, (count, episodes), elements=st.floats(0.0, 1.0, width=32))),
            learned=count > 1,
        )

    x, y = drawn(seeds), drawn(1)
    for found, (low, high) in (
        (statistics.mean(x, UNIT), UNIT),
        (statistics.mean(x, POSITIVE), POSITIVE),
        (statistics.difference(x, y, UNIT), (-1.0, 1.0)),
    ):
        ends = (found.low, found.value, found.high)
        if not np.isnan(found.low):
            assert low - 1e-9 <= ends[0] <= ends[1] + 1e-9 <= ends[2] + 2e-9 <= high + 3e-9


@given(st.integers(FEWEST, 7), st.data())
def test_mirrored_values_have_mirrored_intervals(seeds, data):
    values = data.draw(arrays(float, (seeds, 6), elements=st.floats(0.0, 1.0, width=16)))
    for bounds, mirrored in ((UNIT, (-1.0, 0.0)), (POSITIVE, (-np.inf, 0.0)), (NONE, NONE)):
        there = statistics.mean(Sample(values, True), bounds)
        back = statistics.mean(Sample(-values, True), mirrored)
        assert (-back.high, -back.low) == pytest.approx((there.low, there.high), abs=1e-6)


@pytest.mark.slow
@settings(max_examples=50)
@given(played())
def test_ranks_follow_means_and_ties_are_ties(results):
    result = table(results, ["m"], bounds={"m": UNIT})
    assert result["m"].is_monotonic_increasing
    assert result["rank"].is_monotonic_increasing
    samples = {
        policy: Sample(of_policy.to_numpy(), learned=bool((of_policy.index >= 0).any()))
        for policy, rows in results.assign(s=results["training_seed"].fillna(-1)).groupby("policy")
        for of_policy in [rows.pivot(index="s", columns="episode_seed", values="m")]
    }
    for rank, group in result.groupby("rank"):
        assert rank == 1 + (result["rank"] < rank).sum()
        assert (group["tied"] == (len(group) > 1)).all()
        for a in group["policy"]:
            assert not any(
                statistics.are_apart(samples[a], samples[b], UNIT) for b in group["policy"]
            )
        if before := [p for p in result["policy"] if row(result, p)["rank"] < rank]:
            last = [p for p in before if row(result, p)["rank"] == row(result, before[-1])["rank"]]
            first = samples[group["policy"].iloc[0]]
            assert any(statistics.are_apart(first, samples[p], UNIT) for p in last)


@pytest.mark.parametrize("seeds", [None, 3, 5, 9])
def test_ratios_are_positive_and_turn_round(seeds):
    rng = np.random.default_rng(0)
    values = {i: np.exp(rng.normal(size=12)) for i in range(seeds)} if seeds else None
    results = pd.concat(
        rows_of(name, of_policy or {None: np.exp(rng.normal(size=12))})
        for name, of_policy in (("a", values), ("b", None))
    )
    a, b = statistics_of(results, "a", "b"), statistics_of(results, "b", "a")
    assert 0.0 < a["ratio_low"] < a["ratio"] < a["ratio_high"]
    assert a["ratio"] * b["ratio"] == pytest.approx(1.0)
    assert a["ratio_low"] * b["ratio_high"] == pytest.approx(1.0)


def statistics_of(results, policy, reference):
    return ratios(results, "m", [(policy, reference)]).iloc[0]


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        ([0.0, 0.4, 1.0 + 1e-12], UNIT),
        ([0.0, 1.5], POSITIVE),
        ([-3.0, 0.0], (-np.inf, 0.0)),
        ([-1.0, 0.5], NONE),
    ],
)
def test_values_suggest_bounds(values, bounds):
    assert statistics.bounds_of(values) == bounds


def test_bad_values_are_errors():
    with pytest.raises(ValueError, match=r"a mean is 1.5, beside its bounds \[0, 1\]"):
        statistics.mean(sample([1.0, 2.0]), UNIT)
    with pytest.raises(ValueError, match="a mean is 0; a ratio is of positive ones"):
        statistics.ratio(sample([1.0, 2.0]), sample([0.0, 0.0]))
