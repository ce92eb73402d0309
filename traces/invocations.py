"""Requests to a service of large language models: counts per interval, or one row per request.

    traces.load("invocations", rng)                         # a synthetic week, counts per 10 s
    traces.load("invocations", path="code.csv")             # a recording

Times are in seconds since the Unix epoch, UTC. A trace has one of two forms; `"count" in
trace.columns` tells which. The header of a file decides:

    Time,TIMESTAMP                            counts: time_s, the start of an interval, and count
        2024-05-10 00:00:00,146               (int64). TIMESTAMP is the number of requests in the
                                              interval that begins at Time.
    TIMESTAMP,ContextTokens,GeneratedTokens   requests: time_s, prompt_tokens and output_tokens
        2023-11-16 18:17:03.9799600,4808,10   (int64), as in the public Azure LLM inference traces.

Counts have a row for every interval: one that the file leaves out had no requests, and is 0. The
interval is the smallest gap between two labels; all labels must lie on its grid. The trace ends one
interval after the last label. Requests cover the time from the first to an instant after the last,
and two may come at the same time.

The synthetic trace has counts per 10 s. It is calibrated to the code service in the Azure trace of
2024 (10 to 16 May, 60,481 intervals, 27.8 requests/s), by default at 2/9 of its rate, which 200
servers can just carry. Weeks vary; these are long-run values, the relative ones over the mean:

    statistic                                     recorded       at 27.8/s      at 6.2/s
    weekend day over weekday                      0.32           0.32           0.32
    busiest hour (UTC), on weekdays               18-19, 2.7     18-19, 2.7     18-19, 2.7
    quietest hour (UTC), on weekdays              8-9, 0.28      8-9, 0.29      8-9, 0.29
    99th percentile                               3.2            3.2            3.3
    largest count in a week                       3.9            4.1            4.3
    standard deviation                            0.86           0.85           0.86
    sd of counts over the mean of the hour        0.19           0.18           0.24
    autocorrelation of that, 10 s, 1 min, 5 min   .42 .13 .04    .41 .11 .01    .23 .07 .01

The hourly means follow the recording on weekdays and at weekends. A slow level makes days differ,
with a standard deviation of 10 %; fast noise makes minutes differ; given both, counts are Poisson.

References: Patel, Choukse, Zhang, Shah, Goiri, Maleki, Bianchini: Splitwise, ISCA 2024 (2023
files); Stojkovic, Zhang, Goiri, Torrellas, Choukse: DynamoLLM, HPCA 2025 (2024 files).
"""

from pathlib import Path

import numpy as np

from marlserve.traces import noise, utc
from marlserve.traces.base import Trace
from marlserve.traces.csv_file import CsvFile

COLUMNS = ("time_s", "count", "prompt_tokens", "output_tokens")
MEAN_RATE_PER_S = 6.2
INTERVAL_S = 10.0

_HOUR_S, _DAY_S, _WEEK_S = 3600.0, 86_400.0, 604_800.0
_MONDAY_S = 4 * _DAY_S  # the epoch was on a Thursday
# Mean requests per 10 s in the hours of a day, UTC, of the code service in 2024.
_WEEKDAY: tuple[int, ...] = (243, 234, 220, 179, 142, 118, 101, 85, 79, 81, 87, 126)
_WEEKDAY += (236, 406, 577, 633, 599, 683, 755, 771, 727, 528, 384, 286)
_WEEKEND: tuple[int, ...] = (150, 145, 130, 125, 108, 86, 69, 47, 36, 32, 30, 40)
_WEEKEND += (64, 87, 108, 125, 134, 146, 161, 166, 165, 167, 163, 153)
_HOURS = np.array(5 * _WEEKDAY + 2 * _WEEKEND) / np.mean(5 * _WEEKDAY + 2 * _WEEKEND)  # [168]

_DAY_SD, _DAY_MEMORY = 0.13, 2.0  # of the level at noon; days
# Noise in the logarithm of the rate: standard deviation where the rate is the mean, and memory in
# seconds. As recorded, few requests are noisier than many: by this power of the rate over its mean.
_NOISE = ((0.05, 600.0), (0.06, 60.0), (0.11, 10.0))
_NOISE_POWER = -0.35


def load(
    rng: np.random.Generator | None = None,
    *,
    path: str | Path = "",
    weeks: int = 1,
    start: str = "2024-05-06 00:00:00",
    mean_rate_per_s: float = MEAN_RATE_PER_S,
) -> Trace:
    """Read the file at `path`, or draw whole weeks of counts from `rng`.

    Args:
        path: the other arguments are for a synthetic trace, and have no effect with a path.
        weeks: how many.
        start: UTC; by default a Monday. The shape follows the calendar.
        mean_rate_per_s: expected over a week.

    Raises:
        ValueError: for a bad option; for a file with another header, cells of another form, times
            that are out of order, and labels that repeat or are off the grid, naming file, line,
            column, value and what is expected.
        OSError: if the file cannot be read.
    """
    if path:
        return _recording(CsvFile(path))
    if rng is None:
        raise ValueError("rng is None; a synthetic trace is drawn from it, a recording has a path")
    if not (isinstance(weeks, int) and weeks >= 1):
        raise ValueError(f"weeks is {weeks!r}; expected a whole number, at least 1")
    if not 0.0 < mean_rate_per_s < np.inf:
        raise ValueError(f"mean_rate_per_s is {mean_rate_per_s}; expected a positive number")
    start_s = utc.epoch_s("start", start)
    time_s = start_s + INTERVAL_S * np.arange(round(weeks * _WEEK_S / INTERVAL_S))
    expected = shape(time_s + INTERVAL_S / 2)
    log_level = _day_levels(rng, time_s)
    for sd_at_mean, memory_s in _NOISE:
        sd = sd_at_mean * expected**_NOISE_POWER
        log_level += sd * noise.autoregressive(rng, len(time_s), memory_s / INTERVAL_S) - sd**2 / 2
    mean = mean_rate_per_s * INTERVAL_S * expected * np.exp(log_level)
    return Trace({"time_s": time_s, "count": rng.poisson(mean)}, time_s[-1] + INTERVAL_S, start_s)


def shape(time_s: np.ndarray) -> np.ndarray:
    """The expected rate over its mean of a week, at seconds since the epoch, any shape."""
    hour = (np.asarray(time_s, np.float64) - _MONDAY_S) % _WEEK_S / _HOUR_S
    return np.interp(hour - 0.5, np.arange(168), _HOURS, period=168)  # knots amid the hours


def _day_levels(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """The logarithm of the slow level, [n]: a value for every noon, and straight lines between."""
    day = (time_s - time_s[0]) / _DAY_S
    knots = np.arange(np.ceil(day[-1]) + 1)
    level = _DAY_SD * noise.autoregressive(rng, len(knots), _DAY_MEMORY)
    return np.interp(day, knots, level) - _DAY_SD**2 / 2


def _recording(file: CsvFile) -> Trace:
    if set(file.header) == {"Time", "TIMESTAMP"}:
        return _counts(file)
    if set(file.header) == {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}:
        time_s = file.times_ns("TIMESTAMP", repeats=True) / 1e9
        columns = {
            "time_s": time_s,
            "prompt_tokens": file.whole_numbers("ContextTokens"),
            "output_tokens": file.whole_numbers("GeneratedTokens"),
        }
        return Trace(columns, float(np.nextafter(time_s[-1], np.inf)), float(time_s[0]))
    raise ValueError(
        f"{file.path}, line 1: the header is {','.join(file.header)[:200]!r}; expected "
        "Time,TIMESTAMP (counts) or TIMESTAMP,ContextTokens,GeneratedTokens (requests)"
    )


def _counts(file: CsvFile) -> Trace:
    times_ns, found = file.times_ns("Time"), file.whole_numbers("TIMESTAMP")
    if len(times_ns) < 2:
        raise ValueError(f"{file.path}: 1 row; expected two or more, whose gap is the interval")
    interval_ns = np.diff(times_ns).min()
    row, rest_ns = np.divmod(times_ns - times_ns[0], interval_ns)
    interval_s = float(interval_ns) / 1e9
    file.check("Time", rest_ns == 0, f"whole intervals of {interval_s:g} s after line 2")
    if len(found) < 0.01 * row[-1]:
        raise file.error(
            "Time", len(found) - 1, f"counts in at least 1 % of the intervals of {interval_s:g} s"
        )
    count = np.zeros(row[-1] + 1, np.int64)
    count[row] = found
    time_s = (times_ns[0] + interval_ns * np.arange(len(count))) / 1e9
    return Trace({"time_s": time_s, "count": count}, time_s[-1] + interval_s, float(time_s[0]))
