"""Intervals of the table of results: what a hand computes, and as wide as they say."""

import numpy as np
import pytest
from result_rows import row, rows_of
from scipy.stats import t

from marlserve.experiments.reports import table


def test_an_interval_over_two_episodes():
    # Means of two draws with replacement: 0, 0.5, 0.5 and 1 with probability 1/4 each.
    result = table.table(rows_of("a", {None: [0.0, 1.0]}), ["m"])
    assert row(result, "a")[["m", "m_low", "m_high"]].tolist() == [0.5, 0.0, 1.0]


def test_an_interval_over_training_seeds():
    # Episodes do not matter here; two draws of seeds: 0, 1, 1 and 2, stretched.
    result = table.table(rows_of("a", {0: [0.0] * 9, 1: [2.0] * 9}), ["m"])
    interval = [1.0, 1.0 - table.stretch(2), 1.0 + table.stretch(2)]
    assert row(result, "a")[["m", "m_low", "m_high"]].tolist() == pytest.approx(interval)
    assert row(result, "a")["training_seeds"] == 2
    assert "over 2 training seeds and 9 episodes" in table.caption(result)


def test_the_stretch_is_that_of_student_s_t():
    # The mean of n values with deviation s (n - 1 in the denominator): t * s / sqrt(n). The
    # bootstrap of it: 1.96 * sqrt((n - 1) / n) * s / sqrt(n).
    for count in (2, 3, 10):
        bootstrap = 1.959964 * np.sqrt((count - 1) / count)
        assert table.stretch(count) == pytest.approx(t.ppf(0.975, count - 1) / bootstrap)
    assert table.stretch(1) == 1.0


@pytest.mark.parametrize("count", [3, 5])
def test_an_interval_over_few_seeds_holds_the_mean_as_often_as_it_says(count):
    rng, held = np.random.default_rng(0), []
    once = np.ones((2000, 1))
    for _ in range(300):
        values = rng.normal(size=(count, 1))
        low, high = np.percentile(table.resampled_means(values, once, rng), [2.5, 97.5])
        held.append(low <= 0.0 <= high)
    assert 0.9 < np.mean(held) < 0.99  # 0.75 and 0.84 without the stretch
