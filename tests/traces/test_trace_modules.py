"""The traces one by one: are they what their docstrings say?

Statistical tests have fixed seeds, and a tolerance of 4 standard errors of what they test, or a
stated one where that has no simple form.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from marlserve.traces import flows, poisson, wikipedia

PHP_FLOWS = "time\tquery\n0.5\t/dummy.php/?n=18350000\n0.5\t/dummy.php/?n=0\n2.25\t/d?n=36700000\n"


@pytest.fixture
def flow_file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "flows.csv"
        path.write_bytes(text.encode())
        return path

    return write


# poisson -----------------------------------------------------------------------------------------


def test_poisson_counts_and_gaps():
    rate_per_s, duration_s = 800.0, 500.0
    trace = poisson.load(np.random.default_rng(3), rate_per_s=rate_per_s, duration_s=duration_s)
    expected = rate_per_s * duration_s
    assert abs(len(trace) - expected) < 4.0 * np.sqrt(expected)
    gaps = np.diff(trace.time_s)
    # The cv of n exponential draws has a standard error of 1 / sqrt(n).
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=4.0 / np.sqrt(len(gaps)))
    assert np.corrcoef(gaps[1:], gaps[:-1])[0, 1] == pytest.approx(0, abs=4.0 / np.sqrt(len(gaps)))
    # Counts in seconds are Poisson: their variance is their mean.
    counts = np.bincount(trace.time_s.astype(int), minlength=500)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / 500))


@pytest.mark.parametrize(
    ("law", "scv", "expected_scv", "tolerance"),
    [
        ("exponential", None, 1.0, 0.02),
        ("deterministic", None, 0.0, 1e-12),
        ("hyperexponential", None, 4.0, 0.15),
        ("hyperexponential", 1.0, 1.0, 0.02),
        ("hyperexponential", 10.0, 10.0, 0.6),
        ("lognormal", None, 4.0, 0.6),
        ("lognormal", 0.25, 0.25, 0.01),
    ],
)
def test_work_laws_have_their_mean_and_variance(law, scv, expected_scv, tolerance):
    work_s = poisson.draw_work(np.random.default_rng(5), 400_000, 0.2, law, scv)
    error = 4.0 * np.sqrt(expected_scv / len(work_s)) + 1e-12
    assert work_s.mean() / 0.2 == pytest.approx(1.0, abs=error)
    assert work_s.var() / work_s.mean() ** 2 == pytest.approx(expected_scv, abs=tolerance)
    assert (work_s > 0.0).all()


def test_poisson_can_be_empty():
    rng = np.random.default_rng(0)
    assert len(poisson.load(rng, rate_per_s=0.0, duration_s=9.0)) == 0
    assert len(poisson.load(rng, rate_per_s=9.0, duration_s=0.0)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_per_s": -1.0}, "rate_per_s is -1.0"),
        ({"duration_s": np.inf}, "duration_s is inf"),
        ({"mean_work_s": 0.0}, "mean_work_s is 0.0"),
        ({"mean_work_s": np.nan}, "mean_work_s is nan"),
        ({"work_law": "pareto"}, "work_law is 'pareto'; allowed are .*'lognormal'"),
        ({"work_scv": 2.0}, "work_scv is 2.0; exponential work cannot have it"),
        ({"work_law": "hyperexponential", "work_scv": 0.5}, "work_scv is 0.5"),
        ({"work_law": "lognormal", "work_scv": np.nan}, "work_scv is nan"),
    ],
)
def test_bad_poisson_options_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        poisson.load(np.random.default_rng(0), **({"rate_per_s": 1.0, "duration_s": 1.0} | change))


# wikipedia ---------------------------------------------------------------------------------------


def expected_rate_per_s(start_s: float, duration_s: float, mean_rate_per_s: float) -> float:
    grid_s = start_s + (np.arange(1000) + 0.5) * duration_s / 1000
    return mean_rate_per_s * wikipedia.shape(grid_s).mean()


def test_wikipedia_follows_the_hours_of_a_day():
    trace = wikipedia.load(np.random.default_rng(11), mean_rate_per_s=10.0)
    assert trace.duration_s == 86_400.0
    for hour in range(24):
        count = len(trace.between(3600.0 * hour, 3600.0 * (hour + 1)))
        expected = 3600.0 * expected_rate_per_s(3600.0 * hour, 3600.0, 10.0)
        assert abs(count - expected) < 4.0 * np.sqrt(expected), hour


def test_wikipedia_has_the_published_shape():
    hours = np.arange(0.0, 24.0, 0.1)
    rate_per_s = wikipedia.MEAN_RATE_PER_S * wikipedia.shape(3600.0 * hours)
    assert rate_per_s.mean() == pytest.approx(650.0)
    assert rate_per_s.max() == pytest.approx(796.3, abs=1.0)  # the highest replay rate
    assert rate_per_s.min() < 500.0  # the quietest hours were not replayed
    assert rate_per_s.max() / rate_per_s.min() == pytest.approx(14.0 / 8.0, rel=0.03)
    assert abs(hours[rate_per_s.argmax()] - 18.0) < 1.5
    assert abs(hours[rate_per_s.argmin()] - 7.0) < 1.5


def test_wikipedia_is_quieter_at_weekends_and_weeks_repeat():
    noon_s = 86_400.0 * np.arange(14) + 43_200.0
    relative = wikipedia.shape(noon_s) / wikipedia.shape(43_200.0)
    expected = np.tile([1.0] * 5 + [wikipedia.WEEKEND] * 2, 2)
    np.testing.assert_allclose(relative, expected, rtol=1e-9)
    friday_night_s = 5 * 86_400.0 - 1800.0
    trace = wikipedia.load(np.random.default_rng(2), start_s=friday_night_s, duration_s=3600.0)
    for start_s in (0.0, 1800.0):
        expected = 1800.0 * expected_rate_per_s(friday_night_s + start_s, 1800.0, 650.0)
        count = len(trace.between(start_s, start_s + 1800.0))
        assert abs(count - expected) < 4.0 * np.sqrt(expected)


def test_the_bound_of_thinning_holds_between_midnights():
    """If the shape were steeper than its bound, the busiest moments would be cut off."""
    hours = 3600.0 * np.arange(7 * 24)[:, None]
    for length_s in (60.0, 3600.0):
        inside = wikipedia.shape(hours + np.linspace(0.0, length_s, 200, endpoint=False))
        middle = wikipedia.shape(hours + length_s / 2.0)
        assert (abs(inside - middle) <= wikipedia._STEEPEST_PER_S * length_s / 2.0).all()


def test_wikipedia_pages_have_the_calibrated_work():
    trace = wikipedia.load(np.random.default_rng(4), start_s=61_200.0, duration_s=600.0)
    wiki = trace["kind"] == wikipedia.WIKI
    count = len(trace)
    assert wiki.mean() == pytest.approx(0.365, abs=4.0 * np.sqrt(0.365 * 0.635 / count))
    for rows, mean_s, scv, tolerance in ((wiki, 0.060, 2.0, 0.2), (~wiki, 0.003, 0.25, 0.01)):
        work_s = trace["work_s"][rows]
        assert work_s.mean() == pytest.approx(mean_s, rel=4.0 * np.sqrt(scv / len(work_s)))
        assert work_s.var() / work_s.mean() ** 2 == pytest.approx(scv, abs=tolerance)
        # Lognormal: the median is mean / sqrt(1 + scv), the logarithm symmetric about it.
        assert np.median(work_s) == pytest.approx(mean_s / np.sqrt(1.0 + scv), rel=0.01)
        logs = np.log(work_s)
        skew = ((logs - logs.mean()) ** 3).mean() / logs.std() ** 3
        assert abs(skew) < 4.0 * np.sqrt(6.0 / len(logs))


@pytest.mark.parametrize(
    ("replay_rate_per_s", "utilisation"),
    [(518.8, 0.62), (690.9, 0.82), (696.5, 0.83), (796.3, 0.95)],
)
def test_the_replay_rates_fill_20_cores_as_stated(replay_rate_per_s, utilisation):
    trace = wikipedia.load(np.random.default_rng(6), start_s=61_200.0, duration_s=600.0)
    offered = trace.at_rate(replay_rate_per_s).offered_load
    error = 4.0 * np.sqrt((1.0 + 5.97) / len(trace))
    assert offered / 20.0 == pytest.approx(utilisation, abs=0.005 + error)


def test_a_minute_does_not_draw_the_day(monkeypatch):
    drawn = []
    draw = wikipedia.arrivals
    monkeypatch.setattr(wikipedia, "arrivals", lambda *a: drawn.append(draw(*a)) or drawn[-1])
    minute = wikipedia.load(np.random.default_rng(0), start_s=64_830.0, duration_s=60.0)
    assert sum(map(len, drawn)) < 1.01 * len(minute) + 100
    assert len(wikipedia.load(np.random.default_rng(0), duration_s=0.0)) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"start_s": -1.0},
        {"duration_s": np.nan},
        {"mean_rate_per_s": np.inf},
        {"wiki_share": 1.1},
        {"wiki_work_s": 0.0},
        {"static_work_s": -0.003},
    ],
)
def test_bad_wikipedia_options_are_named(change):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"{name} is {value}; expected"):
        wikipedia.load(np.random.default_rng(0), **({"duration_s": 1.0} | change))


# flows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_flows_are_read(flow_file, newline):
    trace = flows.load(path=flow_file(PHP_FLOWS.replace("\n", newline)))
    np.testing.assert_array_equal(trace.time_s, [0.5, 0.5, 2.25])
    np.testing.assert_allclose(trace["work_s"], [1.0, 0.0, 2.0])
    assert trace.duration_s == pytest.approx(2.25)
    assert len(trace.between(0.0, trace.end_s)) == 3
    twice = flows.load(path=flow_file(PHP_FLOWS), iterations_per_s=flows.ITERATIONS_PER_S / 2.0)
    np.testing.assert_allclose(twice["work_s"], [2.0, 0.0, 4.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 lines; expected a header and rows"),
        ("time,query\n1,/?n=3\n", "line 1: the header is 'time,query'; expected .* time,query"),
        ("1.0\t/?n=3\n2.0\t/?n=3\n", r"line 1: the header is '1.0,/\?n=3'; expected"),
        ("time\tquery", "1 lines; expected a header and rows after it"),
        ("time\tquery\n", "1 lines; expected a header and rows after it"),
        ("time\tquery\n1.0\t/?n=3\n2.0\t/?n", r"line 3, column query: '/\?n'; expected a path"),
        ("time\tquery\n1.0\t/?n=3\n2.0\t/?n=55", "line 3, column query: .* it may be cut off"),
        ("time\tquery\n1.0\t/?n=3\n2.0\n", "line 3: '2.0'; expected 2 columns, time,query"),
        ("time\tquery\n1.0\t/?n=3\n\n2.0\t/?n=3\n", "line 3: ''; expected 2 columns, time,query"),
        ("time\tquery\n1.0\t/?n=3\textra\n", "line 2: .*; expected 2 columns, time,query"),
        ("time\tquery\nnan\t/?n=3\n", "line 2, column time: 'nan'; expected a finite number"),
        ("time\tquery\n1.0\t/?n=3\ninf\t/?n=3\n", "line 3, column time: 'inf'"),
        ("time\tquery\n-1.0\t/?n=3\n", "line 2, column time: '-1.0'; expected non-neg"),
        ("time\tquery\nsoon\t/?n=3\n", "line 2, column time: 'soon'"),
        ("time\tquery\n1e999\t/?n=3\n", "line 2, column time: '1e999'; expected a finite number"),
        ("time\tquery\n1.0\t/?n=-3\n", r"line 2, column query: '/\?n=-3'; expected .* whole"),
        ("time\tquery\n1.0\t/?n=nan\n", "line 2, column query"),
        ("time\tquery\n1.0\t/wiki/Delft\n", "line 2, column query: '/wiki/Delft'"),
        (
            "time\tquery\n1.0\t/?n=" + "9" * 400 + "\n",
            "line 2, column query: '/.n=9+'; expected .* finite",
        ),
        (
            "time\tquery\n1.0\t/?n=3\n3.0\t/?n=3\n2.0\t/?n=3\n",
            "line 4, column time: '2.0'; expected .* not before the",
        ),
    ],
)
def test_a_bad_line_is_named(flow_file, text, message):
    path = flow_file(text)
    with pytest.raises(ValueError, match=message) as error:
        flows.load(path=path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_bad_speed_are_errors(tmp_path, flow_file):
    with pytest.raises(FileNotFoundError):
        flows.load(path=tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"iterations_per_s is 0.0"):
        flows.load(path=flow_file(PHP_FLOWS), iterations_per_s=0.0)


@pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA names no data folder"
)
@pytest.mark.parametrize(
    ("file", "rows", "rate_per_s"),
    [("rate_350.csv", 77_960, 340.4), ("rate_500.csv", 77_965, 487.4)],
)
def test_the_published_flows(file, rows, rate_per_s):
    trace = flows.load(path=Path(os.environ["MARLSERVE_DATA"], "poisson_for_loop", file))
    assert len(trace) == rows
    assert trace.rate_per_s == pytest.approx(rate_per_s, abs=0.05)
    assert trace["work_s"].mean() == pytest.approx(0.2, rel=0.001)
    assert trace["work_s"].std() / trace["work_s"].mean() == pytest.approx(1.0, abs=0.01)
    gaps = np.diff(trace.time_s)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.02)
