"""The price of electricity: a value per 5 or 15 minutes, which may be negative.

    traces.load("energy_price", rng, weeks=2)                        # synthetic
    traces.load("energy_price", path="CAISO_20240509_20240521.csv")  # a recording
    price.at(1715774400.0)["usd_per_mwh"]                            # what holds at that time

Times are in seconds since the Unix epoch, UTC. Columns: time_s, the start of an interval;
usd_per_mwh, the price in it. The trace ends with its last interval.

A file has a header with INTERVALSTARTTIME_GMT and VALUE, as those of CAISO, the system operator of
California, and any other columns, which are not read:

    INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,VALUE
    2024-05-09 07:00:00,2024-05-09 07:05:00,48.469

The synthetic trace has a value per 5 minutes: the daily shape of California in May 2024, with a dip
while the sun shines, but a higher mean, days that differ, and rare spikes, so that all levels up to
100 and beyond occur. Long-run values, beside those of two recordings:

    statistic                                     May 2024       Nov 2023       synthetic
    mean, standard deviation                      11.5, 27.4     85.8, 84.2     29, 40
    below 0                                       32 %           none           20 %
    below 20; 20 to 40; 40 to 60                  52, 38, 10 %   0, 0, 13 %     37, 27, 21 %
    60 to 100; above 100; above 300               0.1, 0, 0 %    77, 11, 1 %    12, 2.2, 0.15 %
    lowest hours (UTC), their mean                15-23, -13     none           15-23, 3
    highest hours (UTC), their mean               2-4, 35        15, 224        2-3, 60
    sd of the means of days                       12             10             22
    days with a price above 100                   none           67 %           37 %
    autocorrelation at 5 min, 1 h, 1 day          .99 .90 .73    .98 .68 .06    .98 .88 .73

The last line holds prices to -60 to 120 first, as a few spikes would rule it. Weeks vary widely.
"""

from pathlib import Path

import numpy as np

from marlserve.traces import noise, utc
from marlserve.traces.base import Trace
from marlserve.traces.csv_file import CsvFile

COLUMNS = ("time_s", "usd_per_mwh")
INTERVAL_S = 300.0
LOWEST_USD_PER_MWH, HIGHEST_USD_PER_MWH = -150.0, 1000.0  # what CAISO lets bids be

_HOUR_S, _DAY_S, _WEEK_S = 3600.0, 86_400.0, 604_800.0
_MONDAY_S = 4 * _DAY_S  # the epoch was on a Thursday
_HOURS = np.arange(24) + 0.5  # UTC; noon in California is at 19 or 20
# The price over the night's level without sun, by hour; and how much of a day's sun there is.
_DEMAND: tuple[float, ...] = (1.05, 1.15, 1.25, 1.2, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.85, 0.87)
_DEMAND += (0.95, 1.1, 1.1, 1.0, 0.95, 0.9, 0.9, 0.9, 0.9, 0.92, 0.95, 1.0)
_SUN = (0.7, 0.25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.2, 0.65, 0.9, 1, 1, 1, 1, 1, 1, 1, 0.9)

_LEVEL_USD_PER_MWH, _LEVEL_SD, _LEVEL_MEMORY = 43.0, 0.45, 2.0  # lognormal by day; days
_SUN_USD_PER_MWH, _SUN_SD, _SUN_MEMORY = 40.0, 22.0, 2.0  # how much the sun takes off, by day
_WEEKEND_USD_PER_MWH = 10.0  # off at weekends while the sun shines, as demand is lower
_NOISE = ((5.0, 1800.0), (8.0, 10_800.0))  # standard deviation, memory in seconds
_SPIKES_PER_DAY, _SPIKE_USD_PER_MWH, _SPIKE_SD, _SPIKE_S = 0.6, 100.0, 0.9, 1200.0


def load(
    rng: np.random.Generator | None = None,
    *,
    path: str | Path = "",
    weeks: int = 1,
    start: str = "2024-05-06 00:00:00",
) -> Trace:
    """Read the file at `path`, or draw whole weeks from `rng`.

    Args:
        path: the other arguments are for a synthetic trace, and have no effect with a path.
        weeks: how many.
        start: UTC; by default a Monday. The shape follows the calendar.

    Raises:
        ValueError: for a bad option; for a file without those columns, cells of another form,
            prices that are not in dollars per MWh, gaps, and times that repeat or are out of
            order, naming file, line, column, value and what is expected.
        OSError: if the file cannot be read.
    """
    if path:
        return _recording(CsvFile(path))
    if rng is None:
        raise ValueError("rng is None; a synthetic trace is drawn from it, a recording has a path")
    if not (isinstance(weeks, int) and weeks >= 1):
        raise ValueError(f"weeks is {weeks!r}; expected a whole number, at least 1")
    start_s = utc.epoch_s("start", start)
    time_s = start_s + INTERVAL_S * np.arange(round(weeks * _WEEK_S / INTERVAL_S))
    hour = time_s % _DAY_S / _HOUR_S
    demand, sun = (np.interp(hour, _HOURS, shape, period=24) for shape in (_DEMAND, _SUN))
    level = _LEVEL_USD_PER_MWH * np.exp(_LEVEL_SD * _by_day(rng, time_s, _LEVEL_MEMORY))
    taken = _SUN_USD_PER_MWH + _SUN_SD * _by_day(rng, time_s, _SUN_MEMORY)
    weekend = (time_s - _MONDAY_S) % _WEEK_S >= 5 * _DAY_S
    price = level * demand - sun * (np.maximum(taken, 0.0) + _WEEKEND_USD_PER_MWH * weekend)
    for sd, memory_s in _NOISE:
        price += sd * noise.autoregressive(rng, len(time_s), memory_s / INTERVAL_S)
    price += _spikes(rng, time_s)
    price = np.clip(price, LOWEST_USD_PER_MWH, HIGHEST_USD_PER_MWH)
    return Trace({"time_s": time_s, "usd_per_mwh": price}, time_s[-1] + INTERVAL_S, start_s)


def _by_day(rng: np.random.Generator, time_s: np.ndarray, memory: float) -> np.ndarray:
    """A slow standard normal, [n]: a value for every 24 hours, and straight lines between."""
    day = (time_s - time_s[0]) / _DAY_S
    knots = np.arange(np.ceil(day[-1]) + 1)
    return np.interp(day, knots, noise.autoregressive(rng, len(knots), memory))


def _spikes(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """What rare scarcity adds, [n]: mostly at the ramps of the morning and the evening."""
    hour = time_s % _DAY_S / _HOUR_S
    ramp = ((hour >= 1.0) & (hour < 5.0)) | ((hour >= 13.0) & (hour < 16.0))
    chance = np.where(ramp, 2.0, 0.5) * _SPIKES_PER_DAY * INTERVAL_S / _DAY_S
    added = np.zeros(len(time_s))
    for first in np.flatnonzero(rng.random(len(time_s)) < chance):
        length = 1 + rng.geometric(INTERVAL_S / _SPIKE_S)
        height = rng.lognormal(np.log(_SPIKE_USD_PER_MWH), _SPIKE_SD)
        added[first : first + length] += height
    return added


def _recording(file: CsvFile) -> Trace:
    file.expect_columns("INTERVALSTARTTIME_GMT", "VALUE", others=True)
    times_ns = file.times_ns("INTERVALSTARTTIME_GMT")
    price = file.numbers("VALUE")
    if len(times_ns) < 2:
        raise ValueError(f"{file.path}: 1 row; expected two or more, whose gap is the interval")
    gap_s = np.diff(times_ns) / 1e9
    regular = np.append(True, (gap_s == gap_s[0]) & np.isin(gap_s, (300.0, 900.0)))
    file.check(
        "INTERVALSTARTTIME_GMT", regular, "5 minutes after the line above, or 15 in all lines"
    )
    file.check("VALUE", np.abs(price) <= 10_000.0, "dollars per MWh, within 10000")
    if 0.0 < np.abs(price).max() < 1.0:
        raise file.error("VALUE", int(np.abs(price).argmax()), "dollars per MWh; none reaches 1")
    time_s = times_ns / 1e9
    return Trace({"time_s": time_s, "usd_per_mwh": price}, time_s[-1] + gap_s[0], time_s[0])
