"""The traces of a service of language models: requests and electricity prices.

Figures of synthetic traces are checked over many weeks, against what their docstrings state, and
recordings where MARLSERVE_DATA names a folder that has them.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from marlserve import traces
from marlserve.traces import energy_price, invocations

DATA = Path(os.environ.get("MARLSERVE_DATA", ""))
needs_data = pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA names no data folder"
)
MONDAY_S = 1_714_953_600.0  # 2024-05-06
COUNTS = "Time,TIMESTAMP\n2024-05-10 00:00:00,146\n2024-05-10 00:00:10,238\n"
REQUESTS = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:03.9799600,3180,8\r\n"
    "2023-11-16 19:14:19.9280160,549,173"
)
PRICES = (
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,VALUE\n"
    "2024-05-09 07:00:00,2024-05-09 07:05:00,48.469\n"
    "2024-05-09 07:05:00,2024-05-09 07:10:00,-59.3\n"
)


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "recording.csv"
        path.write_bytes(text.encode())
        return path

    return write


def drawn(name: str, weeks: int, **options) -> traces.Trace:
    return traces.load(name, np.random.default_rng(1), weeks=weeks, **options)


def hours(trace: traces.Trace) -> np.ndarray:
    return (trace.time_s // 3600 % 24).astype(int)


def weekdays(trace: traces.Trace) -> np.ndarray:
    return (trace.time_s - MONDAY_S) // 86_400 % 7 < 5


def by_hour(values: np.ndarray, hour: np.ndarray) -> np.ndarray:
    return np.array([values[hour == h].mean() for h in range(24)])


def autocorrelation(values: np.ndarray, rows: int) -> float:
    return float(np.corrcoef(values[:-rows], values[rows:])[0, 1])


# invocations --------------------------------------------------------------------------------------


def test_counts_are_read_and_a_missing_interval_is_zero(write):
    trace = invocations.load(path=write(COUNTS + "2024-05-10 00:00:40,7\n"))
    start_s = MONDAY_S + 4 * 86_400
    assert set(trace.columns) == {"time_s", "count"}
    np.testing.assert_array_equal(trace.time_s, start_s + 10.0 * np.arange(5))
    np.testing.assert_array_equal(trace["count"], [146, 238, 0, 0, 7])
    assert trace["count"].dtype == np.int64
    assert (trace.start_s, trace.end_s) == (start_s, start_s + 50.0)
    assert trace.at(start_s + 29.9)["count"] == 0
    for beyond in (start_s - 1.0, start_s + 50.0):
        with pytest.raises(ValueError, match="the trace covers"):
            trace.at(beyond)
    with pytest.raises(ValueError, match="is not within the trace"):
        trace.between(start_s, start_s + 50.5)


def test_requests_are_read_in_seconds_and_tokens(write):
    trace = invocations.load(path=write(REQUESTS))
    assert set(trace.columns) == {"time_s", "prompt_tokens", "output_tokens"}
    np.testing.assert_allclose(trace.time_s[0], 1_700_158_623.97996, atol=1e-6, rtol=0)
    assert trace.time_s[0] == trace.time_s[1] == trace.start_s
    np.testing.assert_array_equal(trace["prompt_tokens"], [4808, 3180, 549])
    np.testing.assert_array_equal(trace["output_tokens"], [10, 8, 173])
    assert len(trace.between(trace.start_s, trace.end_s)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "time,count\n1,2\n",
            "line 1: .*'time,count'; expected Time,TIMESTAMP .* or TIMESTAMP,Con",
        ),
        (
            COUNTS.replace("TIMESTAMP", "TIMESTAMP,extra").replace("6\n", "6,1\n"),
            "line 3: .* 3 col",
        ),
        (REQUESTS.replace("ContextTokens", "Tokens"), "line 1: the header is .*Tokens"),
        (COUNTS.replace(",238", ",2.5"), "line 3, column TIMESTAMP: '2.5'; expected a non-neg"),
        (COUNTS.replace(",238", ",-1"), "line 3, column TIMESTAMP: '-1'"),
        (COUNTS.replace(",146", ",nan"), "line 2, column TIMESTAMP: 'nan'"),
        (COUNTS.replace(",146", ","), "line 2, column TIMESTAMP: ''; expected"),
        (COUNTS.replace(",146", "," + 20 * "9"), "line 2, column TIMESTAMP: '999"),
        (
            COUNTS.replace("00:00:10", "25:00:10"),
            "line 3, column Time: .*25.*; expected a UTC time",
        ),
        (COUNTS.replace("2024-05-10 00:00:10", "1715299210"), "line 3, column Time: '1715299210'"),
        (COUNTS.replace("00:00:10", "00:00:00"), "line 3, column Time: .* later than the one in"),
        (COUNTS + "2024-05-10 00:00:05,1\n", "line 4, column Time: .*; expected .* not before the"),
        (COUNTS + "2024-05-10 00:00:35,1\n", "line 4, column Time: .* whole intervals of 10 s"),
        (COUNTS + "2025-05-10 00:00:00,1\n", "line 4, column Time: .* 1 % of the intervals of 10"),
        (COUNTS[: COUNTS.index("146") + 3], "1 row; expected two or more"),
        (REQUESTS.replace("549", "5.49"), "line 4, column ContextTokens: '5.49'"),
        (REQUESTS.replace("173", "many"), "line 4, column GeneratedTokens: 'many'"),
        (REQUESTS.replace("19:14", "17:14"), "line 4, column TIMESTAMP: .* not before"),
    ],
)
def test_a_bad_line_of_invocations_is_named(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as error:
        invocations.load(path=path)
    assert str(path) in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("mean_rate_per_s", [6.2, 27.8])
def test_synthetic_invocations_have_the_recorded_shape(mean_rate_per_s):
    trace = drawn("invocations", 40, mean_rate_per_s=mean_rate_per_s)
    count, hour, weekday = trace["count"].astype(float), hours(trace), weekdays(trace)
    mean = count.mean()
    assert mean / 10 == pytest.approx(mean_rate_per_s, rel=0.06)  # 4 standard errors
    relative, work = count / mean, by_hour(count[weekday], hour[weekday]) / mean
    assert count[~weekday].mean() / count[weekday].mean() == pytest.approx(0.32, abs=0.02)
    assert (work.argmax() in (18, 19), work.argmin() in (8, 9)) == (True, True)
    assert (work.max(), work.min()) == (pytest.approx(2.7, abs=0.15), pytest.approx(0.29, abs=0.03))
    assert np.percentile(relative, 99) == pytest.approx(3.2, abs=0.15)
    weekly_peaks = count.reshape(40, -1).max(1) / count.reshape(40, -1).mean(1)
    assert weekly_peaks.mean() == pytest.approx({6.2: 4.3, 27.8: 4.1}[mean_rate_per_s], abs=0.2)
    assert relative.std() == pytest.approx(0.86, abs=0.03)
    total = np.append(0.0, count.cumsum())
    fast = count[180:-179] / ((total[360:] - total[:-360]) / 360) - 1.0  # about the hour around it
    assert fast.std() == pytest.approx({6.2: 0.24, 27.8: 0.18}[mean_rate_per_s], abs=0.02)
    expected = {6.2: (0.23, 0.07), 27.8: (0.41, 0.11)}[mean_rate_per_s]
    for rows, target in zip((1, 6), expected, strict=True):
        assert autocorrelation(fast, rows) == pytest.approx(target, abs=0.04)


@pytest.mark.slow
def test_synthetic_days_and_weeks_differ_and_seeds_repeat():
    trace = drawn("invocations", 40)
    daily = trace["count"].reshape(40, 7, 8640).mean(2)  # week, day
    assert (daily / daily.mean(0)).std() == pytest.approx(0.10, abs=0.02)
    one, other = (invocations.load(np.random.default_rng(seed)) for seed in (1, 2))
    assert (one["count"] != other["count"]).mean() > 0.5
    assert (one.start_s, one.duration_s) == (MONDAY_S, 604_800.0)
    saturday = invocations.load(np.random.default_rng(1), start="2024-05-11 00:00:00")
    assert saturday["count"][: 2 * 8640].mean() < 0.5 * one["count"][: 2 * 8640].mean()


@pytest.mark.parametrize("name", ["invocations", "energy_price"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weeks": 0}, "weeks is 0; expected a whole number"),
        ({"weeks": 1.5}, "weeks is 1.5"),
        ({"start": "today"}, "start is 'today'; expected a UTC time"),
        ({"rng": None}, "rng is None; a synthetic trace is drawn from it"),
    ],
)
def test_bad_options_of_a_synthetic_trace_are_named(name, change, message):
    with pytest.raises(ValueError, match=message):
        traces.load(name, **({"rng": np.random.default_rng(0)} | change))


def test_a_bad_rate_and_a_missing_file_are_errors(tmp_path):
    for rate in (0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"mean_rate_per_s is {rate}; expected a positive"):
            invocations.load(np.random.default_rng(0), mean_rate_per_s=rate)
    for name in ("invocations", "energy_price", "kv_profile"):
        with pytest.raises(FileNotFoundError):
            traces.load(name, path=tmp_path / "none")


# energy_price -------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [5, 15])
def test_prices_are_read(write, minutes):
    trace = energy_price.load(
        path=write(PRICES.replace("07:05:00,2024", f"07:{minutes:02}:00,2024"))
    )
    start_s = MONDAY_S + 3 * 86_400 + 7 * 3600
    assert set(trace.columns) == {"time_s", "usd_per_mwh"}
    np.testing.assert_array_equal(trace.time_s, [start_s, start_s + 60 * minutes])
    np.testing.assert_array_equal(trace["usd_per_mwh"], [48.469, -59.3])
    assert (trace.start_s, trace.end_s) == (start_s, start_s + 120 * minutes)
    assert trace.at(start_s + 60 * minutes - 1)["usd_per_mwh"] == 48.469
    with pytest.raises(ValueError, match="no row at .*: the trace covers"):
        trace.at(trace.end_s)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PRICES.replace("VALUE", "PRICE"),
            "line 1: .*; expected .*_GMT,VALUE, and possibly others",
        ),
        (PRICES.replace("48.469", "inf"), "line 2, column VALUE: 'inf'; expected a finite number"),
        (PRICES.replace("-59.3", "-59,3"), "line 3: .*; expected 3 columns"),
        (PRICES.replace("-59.3", "1e999"), "line 3, column VALUE: '1e999'; expected a finite"),
        (
            PRICES.replace("-59.3", "59300"),
            "line 3, column VALUE: '59300'; expected dollars per MWh",
        ),
        (PRICES.replace("48.469", ".048").replace("-59.3", "-.0593"), "'-.0593'; .*none reaches 1"),
        (PRICES.replace("07:00:00,2024", "7:00,2024"), "line 2, column INTERVALSTARTTIME_GMT"),
        (PRICES.replace("07:05:00,2024", "07:10:00,2024"), "line 3, .*; expected 5 minutes after"),
        (PRICES.replace("07:05:00,2024", "07:00:00,2024"), "line 3, .*; expected .* later than"),
        (PRICES.replace("07:05:00,2024", "06:55:00,2024"), "line 3, .*; expected .* not before"),
        (PRICES + "2024-05-09 07:15:00,,3\n", "line 4, .*GMT: .*07:15.*; expected 5 minutes after"),
        (PRICES[: PRICES.index("469") + 3], "1 row; expected two or more"),
    ],
)
def test_a_bad_line_of_prices_is_named(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as error:
        energy_price.load(path=path)
    assert str(path) in str(error.value)


def test_synthetic_prices_have_the_stated_statistics():
    trace = drawn("energy_price", 200)
    price, hour = trace["usd_per_mwh"], hours(trace)
    assert (price.mean(), price.std()) == (pytest.approx(29, abs=3), pytest.approx(40, abs=5))
    bands = np.histogram(price, [-200, 0, 20, 40, 60, 100, 300, 1001])[0] / len(price)
    expected = [0.20, 0.17, 0.27, 0.21, 0.12, 0.02, 0.0015]
    assert (np.abs(bands - expected) < [0.04, 0.03, 0.03, 0.03, 0.03, 0.01, 0.001]).all(), bands
    hourly = by_hour(price, hour)
    assert set(hourly.argsort()[:9]) == set(range(15, 24))
    assert set(hourly.argsort()[-2:]) == {2, 3}
    assert hourly[15:24].mean() == pytest.approx(3, abs=3)
    assert hourly[2:4].mean() == pytest.approx(60, abs=4)
    days = price.reshape(-1, 288)
    assert days.mean(1).std() == pytest.approx(22, abs=3)
    assert (days.max(1) > 100).mean() == pytest.approx(0.37, abs=0.06)
    held = np.clip(price, -60, 120)
    for rows, target in ((1, 0.98), (12, 0.88), (288, 0.73)):
        assert autocorrelation(held, rows) == pytest.approx(target, abs=0.05)
    assert price.min() >= energy_price.LOWEST_USD_PER_MWH
    assert price.max() <= energy_price.HIGHEST_USD_PER_MWH


# Recordings ---------------------------------------------------------------------------------------


@needs_data
def test_the_recorded_counts_of_2024():
    trace = invocations.load(path=DATA / "azure_llm_2024/invocations_ten_second_Coding.csv")
    assert len(trace) == 60_481
    assert trace["count"].sum() == 16_803_695
    assert (trace["count"].min(), trace["count"].max()) == (2, 1074)
    assert trace.duration_s == 604_810.0
    assert hours(trace)[0] == 0
    assert by_hour(trace["count"], hours(trace)).argmax() in (18, 19)


@needs_data
@pytest.mark.parametrize(
    ("file", "rows", "prompt_tokens", "output_tokens"),
    [("code", 8819, 2047.8, 27.9), ("conv", 19_366, 1154.7, 211.1)],
)
def test_the_recorded_requests_of_2023(file, rows, prompt_tokens, output_tokens):
    trace = invocations.load(path=DATA / f"azure_llm_2023/{file}.csv")
    assert len(trace) == rows
    assert 3400.0 < trace.duration_s < 3600.0
    assert trace["prompt_tokens"].mean() == pytest.approx(prompt_tokens, abs=0.05)
    assert trace["output_tokens"].mean() == pytest.approx(output_tokens, abs=0.05)


@needs_data
@pytest.mark.parametrize(
    ("file", "rows", "mean", "least", "largest"),
    [("20231115_20231117", 588, 85.8, 44.7, 959.5), ("20240509_20240521", 3468, 11.5, -56.7, 73.9)],
)
def test_the_recorded_prices(file, rows, mean, least, largest):
    trace = energy_price.load(path=DATA / f"caiso/CAISO_{file}.csv")
    price = trace["usd_per_mwh"]
    assert len(trace) == rows
    assert trace.duration_s == rows * 300.0
    found = (price.mean(), price.min(), price.max())
    assert found == pytest.approx((mean, least, largest), abs=0.05)
