"""What the KV-cache problem plays: stretches of the records, prices, requests, and bad settings."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_cases import START, START_S, counts_csv, prices_csv, requests_csv, steps

from marlserve.envs.kv_cache import PRESETS, Config, Problem
from marlserve.envs.kv_cache.demand import Demand, invocations, prices

HOUR = Config(start_time=START, episode_hours=1.0, num_servers=20)


def hour(tmp_path, counts=(9,) * 360, usd_per_mwh=tuple(range(12)), interval_s=300.0) -> Config:
    """An hour of counts and prices in files."""
    counts_path = counts_csv(tmp_path / "counts.csv", counts)
    price_path = prices_csv(tmp_path / "prices.csv", usd_per_mwh, interval_s)
    return replace(HOUR, invocations_path=counts_path, price_path=price_path)


def arrived(problem: Problem, seed: int = 0) -> np.ndarray:
    """In each step of an episode, [K]."""
    episode = steps(problem, [seed], lambda k: [0])
    return np.array([problem.pool.step["arrived"][0] for _ in episode])


# Stretches ---------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    split_hours=st.floats(0.5, 500.0),
    share=st.floats(0.01, 1.0),
    step_s=st.sampled_from([0.1, 0.3, 2.5, 10.0, 300.0]),
    seed=st.integers(0, 1000),
)
def test_training_and_test_stretches_are_apart(split_hours, share, step_s, seed):
    hours = max(share * split_hours, step_s / 3600.0)
    config = Config(split_hours=split_hours, episode_hours=hours, step_s=step_s)
    records = [load("", config.weeks, config.data_seed) for load in (invocations, prices)]
    windows = []
    for split in ("train", "test"):
        demand = Demand(replace(config, split=split), 1, 10)
        first_s, steps_on = demand.first_starts_s, (demand.num_starts - 1) * step_s
        whole = (first_s - records[1].start_s) / step_s
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-5)
        ends_s = first_s + steps_on + config.num_steps * step_s
        assert (demand.num_starts > 0).all()
        windows += [(*times, split) for times in zip(first_s, ends_s, strict=True)]
        demand.reset(0, np.random.default_rng(seed))
        after_s = demand.start_s[0] - first_s
        assert ((after_s >= 0.0) & (after_s <= steps_on + 1e-6)).any(), "starts in a stretch"
    windows.sort()
    assert windows[0][0] >= max(record.start_s for record in records)
    assert windows[-1][1] <= min(record.end_s for record in records) + 1e-6
    for (_, end_s, one), (start_s, _, other) in pairwise(windows):
        assert end_s <= start_s + 1e-6
        assert one != other, "in turn"


def test_all_starts_are_drawn():
    config = Config(weeks=2, split_hours=4.0, episode_hours=3.5, step_s=300.0)
    demand = Demand(config, 1, 10)
    assert demand.num_starts.tolist() == [7] * 42
    rng, found = np.random.default_rng(0), set()
    for _ in range(4000):
        demand.reset(0, rng)
        found.add(demand.start_s[0])
    assert len(found) == 7 * 42


def test_an_episode_starts_when_told_and_ends_with_the_records(tmp_path):
    counts = np.arange(360) % 7
    config = hour(tmp_path, counts)
    problem = Problem(config, record=True)
    np.testing.assert_array_equal(arrived(problem), counts)
    assert problem.demand.start_s[0] == START_S
    np.testing.assert_array_equal(problem.price, 11.0)
    late = replace(config, start_time="2024-05-10 00:54:00", episode_hours=0.1, step_s=0.1)
    assert arrived(Problem(late)).sum() == counts[-36:].sum()
    with pytest.raises(
        ValueError, match=r"start_time is '2024-05-10 00:00:10', episode_hours is 1"
    ):
        Problem(replace(config, start_time="2024-05-10 00:00:10"))
    for text in ("2024-05-10 00:00:00+02:00", "10 May 2024"):
        with pytest.raises(ValueError, match="start_time is '.*'; expected a UTC time such as"):
            Problem(replace(config, start_time=text))


def test_records_that_hold_no_episode(tmp_path):
    config = replace(hour(tmp_path), start_time="")
    message = r"episode_hours is 2.*split='train'.*2024-05-10 00:00:00 to 2024-05-10 01:00:00 UTC"
    with pytest.raises(ValueError, match=message):
        Problem(replace(config, episode_hours=2.0))
    with pytest.raises(ValueError, match="no stretch of split='test' with split_hours=1.0"):
        Problem(replace(config, split="test", split_hours=1.0))


def test_prices_of_another_year_are_played(tmp_path):
    """A leap year's day apart, and on the same hours of the day; else they share no time."""
    there = hour(tmp_path)
    other = prices_csv(tmp_path / "other.csv", range(12), start_s=START_S - 366 * 86_400.0)
    with pytest.raises(
        ValueError,
        match="price_shift_days is 0; demand covers 2024-05-10 00:00:00 to 2024-05-10 01:00:00 UTC "
        "and prices so shifted 2023-05-10 00:00:00 to 2023-05-10 01:00:00 UTC, which share no time",
    ):
        Problem(replace(there, price_path=other))
    shifted = Problem(replace(there, price_path=other, price_shift_days=366))
    plain = Problem(there)
    for problem in (shifted, plain):
        problem.reset([0])
    np.testing.assert_array_equal(shifted.demand.prices(0), plain.demand.prices(0))
    np.testing.assert_array_equal(shifted.observations(), plain.observations())
    with pytest.raises(ValueError, match="share no time"):
        Problem(replace(there, price_shift_days=1))


# Prices ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("interval_s", "step_s"), [(300.0, 10.0), (900.0, 10.0), (300.0, 0.3)])
def test_prices_change_with_their_intervals(tmp_path, interval_s, step_s):
    values = np.random.default_rng(0).uniform(-50, 150, round(3600 / interval_s)).round(2)
    config = replace(hour(tmp_path, usd_per_mwh=values, interval_s=interval_s), step_s=step_s)
    problem = Problem(replace(config, episode_hours=0.5, start_time="2024-05-10 00:30:00"))
    problem.reset([0])
    steps_each = round(interval_s / step_s)
    for k in range(problem.config.num_steps):
        place = round(1800 / interval_s) + k // steps_each
        assert problem.price[0] == values[place]
        if k % steps_each == 0 and place * interval_s >= 1800.0:
            past = values[place - round(1800 / interval_s) : place + 1]
            hours = np.arange(len(past)) * interval_s / 3600.0
            slope = np.polyfit(hours, past, 1)[0]
            assert problem.demand.price_trend[place] == pytest.approx(slope)
        expected = values[place] * 1.3 / 3.6e9
        problem.step(np.array([[0]]))
        step = problem.pool.step[0]
        cost_usd = (step["request_j"] + step["idle_j"]) * expected
        assert step["cost_usd"] == pytest.approx(cost_usd, rel=1e-12)
    np.testing.assert_array_equal(
        problem.demand.prices(0), values[round(1800 / interval_s) :].repeat(steps_each)
    )


@pytest.mark.parametrize("step_s", [0.1, 0.3, 2.5])
def test_prices_change_in_time_however_the_clock_is_rounded(step_s):
    """At edges of the price's intervals, from starts at any step of any stretch."""
    demand = Demand(Config(step_s=step_s, split_hours=0.7713, episode_hours=0.5), 500, 10)
    rng, each = np.random.default_rng(0), round(300.0 / step_s)
    for copy in range(500):
        demand.reset(copy, rng)
    since = np.round((demand.start_s - prices("", 8, 0).start_s) / step_s).astype(int)  # steps
    for edge in range(1, 6):
        for before in (0, 1):
            step = edge * each - since % each - before
            found = demand.price_index(step * step_s)
            np.testing.assert_array_equal(found, (since + step) // each)


# Requests ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_requests_arrive_when_they_did(tmp_path):
    times_s = np.sort(np.random.default_rng(0).uniform(0, 3600, 900)).round(2)
    path = requests_csv(tmp_path / "requests.csv", times_s)
    config = replace(hour(tmp_path), invocations_path=path, episode_hours=0.9, enable_deny=True)
    config = replace(config, start_time="2024-05-10 00:05:00")
    problem, found_s = Problem(config, record=True), []
    problem.reset([0])
    for _ in range(config.num_steps):
        problem.step(np.array([[6]]))
        found_s += (problem.pool.records(0)["arrival_s"] + 300.0).tolist()
    expected_s = times_s[(times_s >= 300.0) & (times_s < 3540.0)]
    np.testing.assert_allclose(found_s, expected_s, atol=1e-6)


def test_thinned_requests_are_held_and_shifted(tmp_path):
    """Bins lie around their labels, and repeat the one before if empty. 1000 in one: at all ticks.
    The first label, 10 s, is later than the first request."""
    times_s = [7.0, *np.linspace(95.0, 104.9, 1000), 131.0, *np.linspace(3590.0, 3594.0, 2000)]
    path = requests_csv(tmp_path / "requests.csv", times_s)
    config = replace(hour(tmp_path), invocations_path=path, arrivals="thinned", step_s=2.5)
    config = replace(config, start_time="2024-05-10 00:00:07.5", episode_hours=0.1)
    number = arrived(Problem(config))
    assert number[0] == 0, "nothing is known before the first label"
    at_s = 7.5 + 2.5 * np.arange(len(number))
    crowd = (at_s >= 100.0) & (at_s < 130.0)
    assert (number[crowd] == 50).all()
    assert number[~crowd].sum() < 30
    counts = replace(hour(tmp_path, [1000, 0, 0] + [1] * 357), arrivals="thinned")
    number = arrived(Problem(replace(counts, episode_hours=0.1)))
    assert (number[:3] == 200).all()
    assert number[3:].sum() < 30


# Settings ----------------------------------------------------------------------------------------

BAD = [
    *[("num_servers", bad, "whole, at least 1, at most 100000") for bad in (0, 2.5, True)],
    *[("max_waiting", bad, "None, or whole, at least 0, at most 1000000") for bad in (-1, 1.5)],
    ("weeks", 1, "whole, at least 2, at most 520"),
    ("data_seed", -1, "whole, at least 0"),
    ("price_shift_days", 0.5, "whole, at least -36500, at most 36500"),
    *[
        (name, bad, f"a number from {low} to {high}")
        for name, low, high in (
            ("pue", 1, 100),
            ("timeout_s", 0.001, 86400),
            ("step_s", 0.1, 300),
            ("episode_hours", 0.001, 87600),
            ("split_hours", 0.001, 87600),
            ("request_scale", "1e-06", "1e+06"),
        )
        for bad in (0.0, -1.0, float("inf"), float("nan"), "1", None)
    ],
    *[
        (name, -1e-9, "a number from 0 to 1e+06")
        for name in ("idle_w", "revenue_usd", "loss_penalty_usd", "denial_penalty_usd")
    ],
    ("service_floor", 1.01, "a number from 0 to 1"),
    ("wait_penalty_usd_per_s", float("nan"), "a number from 0 to 1e+06"),
    ("enable_deny", 1, "a bool"),
    *[
        (name, None, "a str")
        for name in ("invocations_path", "price_path", "profile_path", "start_time")
    ],
    ("action", "box", "one of ('discrete', 'continuous')"),
    ("reward", "none", "one of ('profit', 'source')"),
    ("arrivals", "poisson", "one of ('recorded', 'thinned')"),
    ("split", "validation", "one of ('train', 'test', 'all')"),
    ("step_s", 7.0, "a divisor of 300 s"),
    ("step_s", 600.0, "a number from 0.1 to 300"),
    ("episode_hours", 0.002, "at least a step"),
    ("split_hours", 23.0, "at least episode_hours, 24.0"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_bad_settings(name, value, allowed):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        Config(**{name: value})
    assert str(error.value) == f"{name} is {value!r}; allowed is {allowed}"


def test_all_settings_are_checked():
    assert {field.name for field in fields(Config)} == {name for name, *_ in BAD}
    for name in ("invocations_path", "price_path", "profile_path"):
        with pytest.raises(OSError, match="nowhere"):
            Problem(Config(**{name: "nowhere"}))
    assert PRESETS["synthetic"] == Config()


def test_a_bin_that_no_step_can_hold_is_named(tmp_path):
    config = hour(tmp_path, [9] * 100 + [100_000_000] + [9] * 259)
    path = config.invocations_path
    with pytest.raises(
        ValueError,
        match=f"{path}: the 10 s from 2024-05-10 00:16:40 on have 100000000 requests; with "
        "request_scale 1.0 and step_s 10.0 that is more than 1000000 in a step",
    ):
        Problem(config)
    Problem(replace(config, request_scale=1e-3))
    with pytest.raises(ValueError, match="the synthetic demand: the 10 s from .* request_scale"):
        Problem(replace(HOUR, request_scale=1e6))
