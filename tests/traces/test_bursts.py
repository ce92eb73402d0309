"""Traffic in bursts: its mean, how much more it varies than a Poisson process, its errors."""

import numpy as np
import pytest

from marlserve.envs.load_balance import Config, Problem, traffic
from marlserve.traces import bursts

RATE_PER_S, BURST = 200.0, {"burst_factor": 5.0, "burst_share": 0.25, "mean_burst_s": 0.5}


def counts(window_s, number, **options):
    """Arrivals in windows in a row, [number]."""
    duration_s = window_s * number
    trace = bursts.load(
        np.random.default_rng(0), rate_per_s=RATE_PER_S, duration_s=duration_s, **options
    )
    assert (np.diff(trace.time_s) >= 0).all()
    assert trace.duration_s == duration_s
    return np.histogram(trace.time_s, np.arange(number + 1) * window_s)[0]


def test_the_mean_rate_is_what_was_asked_for():
    calm_per_s, burst_per_s = bursts.phase_rates_per_s(RATE_PER_S, 5.0, 0.25)
    assert burst_per_s == 5.0 * calm_per_s
    assert 0.75 * calm_per_s + 0.25 * burst_per_s == pytest.approx(RATE_PER_S)
    assert counts(50.0, 200, **BURST).mean() == pytest.approx(RATE_PER_S * 50.0, rel=0.01)


@pytest.mark.slow
def test_counts_vary_as_the_formula_says():
    found = counts(50.0, 600, **BURST)
    expected = bursts.dispersion(RATE_PER_S, **BURST)
    assert expected == pytest.approx(1 + 2 * 400**2 * (0.75 * 0.25) / ((2 + 2 / 3) * 200))
    assert found.var() / found.mean() == pytest.approx(expected, rel=0.15)


def test_without_bursts_it_is_a_poisson_process():
    found = counts(1.0, 4000, burst_factor=1.0)
    assert bursts.dispersion(RATE_PER_S, 1.0, 0.2, 2.0) == 1.0
    assert found.var() / found.mean() == pytest.approx(1.0, abs=0.1)


def test_a_short_window_is_calm_or_a_burst():
    """Some 50 arrivals in calm and 250 in bursts, which last long beside it."""
    found = counts(0.5, 4000, **BURST | {"mean_burst_s": 20.0})
    in_burst = found > 110
    assert in_burst.mean() == pytest.approx(0.25, abs=0.06)
    assert found[~in_burst].mean() == pytest.approx(50.0, rel=0.05)
    assert found[in_burst].mean() == pytest.approx(250.0, rel=0.05)


def test_work_is_drawn_as_asked():
    trace = bursts.load(
        np.random.default_rng(1),
        rate_per_s=100.0,
        duration_s=9.0,
        mean_work_s=0.3,
        work_law="deterministic",
    )
    assert (trace["work_s"] == 0.3).all()


def test_load_balancers_meet_it_at_their_load():
    problem = Problem(Config(trace="bursts", load=(0.5, 0.5), mean_work_s=0.1, episode_s=5.0), 2)
    problem.reset([0, 1])
    expected = 0.5 * sum(problem.config.cores) / 0.1
    rates = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        coming = traffic.Traffic(problem.config, rng, 0.5 * sum(problem.config.cores))
        assert coming.rate_per_s == pytest.approx(expected)
        time_s, *_ = coming.jobs(0.0, 5.0)
        rates.append(len(time_s) / 5.0)
    assert np.mean(rates) == pytest.approx(expected, rel=0.15)
    assert np.std(rates) > 0.2 * expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_per_s": -1.0}, "rate_per_s is -1.0; expected a finite, non-negative"),
        ({"duration_s": np.inf}, "duration_s is inf; expected"),
        ({"burst_factor": 0.5}, "burst_factor is 0.5; expected a number of at least 1"),
        ({"burst_share": 0.0}, "burst_share is 0.0; expected a number between 0 and 1"),
        ({"burst_share": 1.0}, "burst_share is 1.0; expected a number between 0 and 1"),
        ({"mean_burst_s": 0.0}, "mean_burst_s is 0.0; expected a positive number"),
        ({"work_law": "none"}, "work_law is 'none'"),
    ],
)
def test_bad_options_are_named(change, message):
    options = {"rate_per_s": 1.0, "duration_s": 1.0} | change
    with pytest.raises(ValueError, match=message):
        bursts.load(np.random.default_rng(0), **options)
