"""Arrivals: as many as recorded, at the recorded times, and the same however one asks for them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from marlserve.envs.sims.arrivals import COUNTS, THINNED, TIMES, Arrivals

EPOCH_S = 1_715_299_200.0
BIN_S = 10.0
COUNT = np.random.default_rng(0).integers(0, 60, 200)  # by bin
TIME_S = EPOCH_S + np.sort(np.random.default_rng(1).uniform(0.0, 2000.0, 5000).round(3))
VALUES = {COUNTS: COUNT, TIMES: TIME_S, THINNED: 10 * COUNT}
every_record = pytest.mark.parametrize("record", VALUES)


def arrivals(record: int, seeds=(0,), start_s=EPOCH_S, scale=1.0, num_prompts=200) -> Arrivals:
    """A copy for each seed, with episodes from `start_s` on; the records begin at EPOCH_S."""
    made = Arrivals(len(seeds), record, VALUES[record], EPOCH_S, BIN_S, scale, num_prompts)
    made.reset(np.arange(len(seeds)), np.array(seeds), np.full(len(seeds), start_s))
    return made


def drawn(made: Arrivals, num_steps: int, step_s: float, copy: int = 0) -> np.ndarray:
    """Times and prompts of a copy in all steps, [2, n], which also are those of their step."""
    parts, clock_s = [np.zeros((2, 0))], np.zeros(len(made.arrivals[2]))
    for _ in range(num_steps):
        made.advance(clock_s, step_s)
        times, prompts, number = (x[copy] for x in made.arrivals)
        times, prompts = times[:number], prompts[:number]
        assert ((times >= clock_s[copy]) & (times < clock_s[copy] + step_s)).all()
        parts.append(np.array([times, prompts]))
        clock_s += step_s
    return np.concatenate(parts, axis=1)


# What arrives ------------------------------------------------------------------------------------


def test_counts_are_those_of_the_record():
    times, prompts = drawn(arrivals(COUNTS), 200, BIN_S)
    np.testing.assert_array_equal(np.histogram(times, np.arange(201) * BIN_S)[0], COUNT)
    assert (np.diff(times) > 0.0).all()
    assert stats.kstest(times % BIN_S / BIN_S, "uniform").pvalue > 0.01
    assert stats.chisquare(np.bincount(prompts.astype(int), minlength=200)).pvalue > 0.01
    later = drawn(arrivals(COUNTS, start_s=EPOCH_S + 500.0), 150, BIN_S)
    np.testing.assert_array_equal(np.histogram(later[0], np.arange(151) * BIN_S)[0], COUNT[50:])


@pytest.mark.parametrize("scale", [2 / 9, 1.7])
def test_scaled_counts_are_right_in_the_mean_and_to_one(scale):
    made = arrivals(COUNTS, range(100), scale=scale)
    counts = np.array([made.counts(copy, 200, BIN_S) for copy in range(100)])
    assert (np.abs(counts - scale * COUNT) < 1.0).all()
    error = np.sqrt(100 * 200 * 0.25)  # of a sum of so many fractions, at most
    assert abs(counts.sum() - 100 * scale * COUNT.sum()) < 4.0 * error


def test_recorded_times_are_kept():
    times, prompts = drawn(arrivals(TIMES), 200, BIN_S)
    np.testing.assert_array_equal(times + EPOCH_S, TIME_S)
    assert stats.chisquare(np.bincount(prompts.astype(int), minlength=200)).pvalue > 0.01
    doubled = drawn(arrivals(TIMES, scale=2.0), 200, BIN_S)[0]
    np.testing.assert_array_equal(doubled, times.repeat(2))
    half = drawn(arrivals(TIMES, scale=0.5), 200, BIN_S)[0]
    assert set(half) < set(times)
    assert len(half) == pytest.approx(2500, abs=4.0 * np.sqrt(5000 * 0.25))


@pytest.mark.parametrize("step_s", [2.5, 10.0])
def test_recorded_times_at_the_edges_of_bins_and_steps(step_s):
    at_s = np.array([0.0, 0.0, 2.5, 10.0, 10.0, 20.0, 39.75])
    made = Arrivals(1, TIMES, EPOCH_S + at_s, EPOCH_S, BIN_S, 1.0, 5)
    made.reset(np.arange(1), np.array([3]), np.array([EPOCH_S]))
    np.testing.assert_array_equal(drawn(made, round(40.0 / step_s), step_s)[0], at_s)


def test_thinned_counts():
    """Ticks of 50 ms, each with a chance of count / 900 or 1."""
    count = np.repeat([0.0, 90.0, 450.0, 1000.0], 50)
    made = Arrivals(4, THINNED, count, EPOCH_S, BIN_S, 1.0, 5)
    made.reset(np.arange(4), np.arange(4), np.full(4, EPOCH_S))
    times = np.concatenate([drawn(made, 200, BIN_S, copy)[0] for copy in range(4)])
    np.testing.assert_allclose(times / 0.05, np.round(times / 0.05), atol=1e-6)
    number = np.histogram(times, np.arange(5) * 500.0)[0] / 4
    ticks = 50 * 200
    for found, chance in zip(number, [0.0, 0.1, 0.5, 1.0], strict=True):
        assert abs(found / ticks - chance) <= 4.0 * np.sqrt(chance * (1 - chance) / ticks / 4)


# However it is asked for -------------------------------------------------------------------------


@every_record
@given(
    start=st.integers(0, 1000),
    step_s=st.sampled_from([0.1, 0.3, 0.75, 2.5, 7.5, 12.5, 25.0, 60.0]),
    scale=st.sampled_from([1.0, 0.3, 1.5]),
)
def test_steps_of_any_length_show_the_same(record, start, step_s, scale):
    """From the same start on, up to the end of the last of the short ones."""
    made = arrivals(record, [7], EPOCH_S + 0.25 * start, scale)
    num_steps = int(60.0 / step_s)
    whole = drawn(made, 1, 100.0)
    short = drawn(made, num_steps, step_s)
    end_s = 0.0
    for _ in range(num_steps):
        end_s += step_s
    np.testing.assert_array_equal(short, whole[:, whole[0] < end_s])


def test_no_request_is_lost_to_rounding():
    """Steps end a tenth of a microsecond before bins do, less than what seconds since the epoch can
    tell; 10,000 requests in a bin of a millisecond are enough to see it."""
    bin_s = 2.0**-10
    made = Arrivals(1, COUNTS, np.full(5, 10_000), EPOCH_S, bin_s, 1.0, 5)
    made.reset(np.arange(1), np.array([2]), np.array([EPOCH_S]))
    edges_s = np.append(0.0, np.arange(1, 6) * bin_s - 1e-7)
    number = 0
    for from_s, to_s in pairwise(edges_s):
        made.advance(np.array([from_s]), to_s - from_s)
        number += made.arrivals[2][0]
    made.advance(np.array([to_s]), bin_s)
    assert number + made.arrivals[2][0] == 50_000


@every_record
def test_nothing_arrives_after_the_record(record):
    made = arrivals(record, start_s=EPOCH_S + 1990.0)
    times = drawn(made, 300, 0.1)[0]
    assert len(times) > 0
    assert drawn(made, 20, 25.0)[0].tolist() == times.tolist()


@every_record
def test_seeds_make_the_arrivals_whatever_the_copies(record):
    scale = 0.7  # so that chance matters in each record
    made = arrivals(record, [5, 6, 5], scale=scale)
    first, second, third = (drawn(made, 60, BIN_S, copy) for copy in range(3))
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(first, drawn(arrivals(record, [5], scale=scale), 60, BIN_S))
    assert first.shape != second.shape or (first != second).any()
    made.reset(np.array([1]), np.array([5]), np.array([EPOCH_S]))
    np.testing.assert_array_equal(drawn(made, 60, BIN_S, copy=1), first)
    np.testing.assert_array_equal(drawn(made, 60, BIN_S, copy=2), first)


@every_record
def test_copies_at_times_of_their_own(record):
    made = arrivals(record, [5, 5])
    made.advance(np.array([0.0, 70.0]), BIN_S)
    number = made.arrivals[2]
    alone = drawn(arrivals(record, [5]), 8, BIN_S)
    for copy, from_s in enumerate([0.0, 70.0]):
        here = alone[:, (alone[0] >= from_s) & (alone[0] < from_s + BIN_S)]
        np.testing.assert_array_equal(made.arrivals[0][copy, : number[copy]], here[0])
        np.testing.assert_array_equal(made.arrivals[1][copy, : number[copy]], here[1])


@every_record
@pytest.mark.parametrize("step_s", [0.1, 10.0])
def test_counts_in_advance(record, step_s):
    made = arrivals(record, [5, 8], EPOCH_S + 35.0, scale=0.7)
    steps = 120
    foretold, times = made.counts(1, steps, step_s), drawn(made, steps, step_s, copy=1)[0]
    assert foretold.sum() == len(times) > 0
    np.testing.assert_array_equal(foretold, made.counts(1, steps, step_s))
    made.advance(np.full(2, 50.0), step_s)
    expected = arrivals(record, [8], EPOCH_S + 85.0, scale=0.7).counts(0, 1, step_s)
    assert made.arrivals[2][1] == expected[0]
