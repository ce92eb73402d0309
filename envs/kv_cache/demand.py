"""The outside world of an episode: which stretch of the records it plays, arrivals and prices.

Records are read once and shared by all copies and problems.
"""

from datetime import UTC, datetime
from functools import lru_cache

import numpy as np

from marlserve import traces
from marlserve.envs.kv_cache.config import Config
from marlserve.envs.sims.arrivals import COUNTS, MOST_ARRIVALS, THINNED, TIMES, Arrivals
from marlserve.traces import kv_profile, utc
from marlserve.traces.kv_profile import KVProfile

_TREND_S, _DAY_S = 1800.0, 86_400.0
_ROUNDING_S = 1e-6  # of seconds since the epoch, at most


class Demand:
    """Arrivals and prices of B copies.

    Raises:
        ValueError: for bad files, for demand and prices that share no time, and if no stretch of
            the records holds an episode.
    """

    def __init__(self, config: Config, num_envs: int, num_prompts: int):
        self.config = config
        requests = invocations(config.invocations_path, config.weeks, config.data_seed)
        self._prices = prices(
            *(config.price_path, config.weeks, config.data_seed, config.price_shift_days)
        )
        self.usd_per_mwh = self._prices["usd_per_mwh"]
        self.price_interval_s = float(self._prices.time_s[1] - self._prices.time_s[0])
        self.price_trend = trend_per_h(self.usd_per_mwh, self.price_interval_s)
        self.first_starts_s, self.num_starts = _starts(config, requests, self._prices)
        self.start_s = np.zeros(num_envs)  # of the episode, since the epoch
        record, values, begin_s, bin_s = _record(config, requests)
        self._arrivals = Arrivals(
            *(num_envs, record, values, begin_s, bin_s, config.request_scale, num_prompts)
        )

    def reset(self, copy: int, rng: np.random.Generator) -> None:
        """Another episode of this copy."""
        place = rng.integers(self.num_starts.sum())
        stretch = int(np.searchsorted(self.num_starts.cumsum(), place, side="right"))
        place -= self.num_starts[:stretch].sum()
        self.start_s[copy] = self.first_starts_s[stretch] + place * self.config.step_s
        self._arrivals.reset(copy, rng.integers(2**63), self.start_s[copy])

    def advance(self, clock_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What arrives in the step from `clock_s` on, [B] since the episodes began."""
        self._arrivals.advance(clock_s, self.config.step_s)
        return self._arrivals.arrivals

    def price_index(self, clock_s: np.ndarray) -> np.ndarray:
        """The place of the price in force in `usd_per_mwh` and `price_trend`, [B]."""
        return self._index(self.start_s + clock_s)

    def counts(self, copy: int) -> np.ndarray:
        """What will arrive in each step of this copy's episode, [num_steps]: for oracles."""
        return self._arrivals.counts(copy, self.config.num_steps, self.config.step_s)

    def prices(self, copy: int) -> np.ndarray:
        """$/MWh in each step of this copy's episode, [num_steps]: for oracles."""
        clock_s = np.arange(self.config.num_steps) * self.config.step_s
        return self.usd_per_mwh[self._index(self.start_s[copy] + clock_s)]

    def _index(self, time_s: np.ndarray) -> np.ndarray:
        since_s = time_s - self._prices.time_s[0] + _ROUNDING_S
        return (since_s // self.price_interval_s).astype(np.int64)


@lru_cache(maxsize=8)
def invocations(path: str, weeks: int, seed: int) -> traces.Trace:
    """The recorded demand, or weeks of its twin."""
    if path:
        return traces.load("invocations", path=path)
    return traces.load("invocations", np.random.default_rng([seed, 0]), weeks=weeks)


@lru_cache(maxsize=8)
def prices(path: str, weeks: int, seed: int, shift_days: int = 0) -> traces.Trace:
    """The recorded prices, or weeks of their twin, so many days later than they were."""
    if shift_days:
        found, shift_s = prices(path, weeks, seed), shift_days * _DAY_S
        columns = {**found.columns, "time_s": found.time_s + shift_s}
        return traces.Trace(columns, found.end_s + shift_s, found.start_s + shift_s)
    if path:
        return traces.load("energy_price", path=path)
    return traces.load("energy_price", np.random.default_rng([seed, 1]), weeks=weeks)


@lru_cache(maxsize=8)
def profile(path: str, seed: int) -> KVProfile:
    """The measured profile, or its twin."""
    if path:
        return kv_profile.load(path=path)
    return kv_profile.load(np.random.default_rng([seed, 2]))


def trend_per_h(values: np.ndarray, interval_s: float) -> np.ndarray:
    """Least-squares slope per hour over the past half hour, the newest value included, [n]."""
    count = round(_TREND_S / interval_s) + 1
    padded = np.concatenate([np.full(count - 1, values[0]), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, count)  # [n, count]
    hours = np.arange(count) * interval_s / 3600.0
    hours -= hours.mean()
    return windows @ hours / (hours @ hours)


def _starts(
    config: Config, requests: traces.Trace, prices: traces.Trace
) -> tuple[np.ndarray, np.ndarray]:
    """Where episodes may begin: the first time in each stretch, and how many steps on."""
    from_s, to_s = max(requests.start_s, prices.start_s), min(requests.end_s, prices.end_s)
    if from_s >= to_s:
        raise ValueError(
            f"price_shift_days is {config.price_shift_days}; demand covers {_span(requests)} and "
            f"prices so shifted {_span(prices)}, which share no time"
        )
    # On the grid of the prices, so that a price lasts for whole steps.
    step_s = config.step_s
    from_s = prices.start_s + step_s * np.ceil((from_s - prices.start_s) / step_s)
    length_s = step_s * round(config.split_hours * 3600.0 / step_s)
    episode_s = step_s * config.num_steps
    covered = f"{_utc(from_s)} to {_utc(to_s)} UTC"
    if config.start_time:
        start_s = utc.epoch_s("start_time", config.start_time)
        if not from_s <= start_s <= to_s - episode_s + _ROUNDING_S:
            raise ValueError(
                f"start_time is {config.start_time!r}, episode_hours is {config.episode_hours}; "
                f"demand and prices cover {covered}"
            )
        return np.array([start_s]), np.array([1])
    if config.split == "all":
        first_s, last_s = np.array([from_s]), np.array([to_s])
    else:
        stretches = np.arange(np.ceil((to_s - from_s) / length_s))[config.split == "test" :: 2]
        first_s = from_s + length_s * stretches  # by np.arange alone they would drift
        last_s = np.minimum(first_s + length_s, to_s)
    number = np.floor((last_s - first_s - episode_s + _ROUNDING_S) / step_s).astype(int) + 1
    fits = number > 0
    if not fits.any():
        raise ValueError(
            f"episode_hours is {config.episode_hours}; no stretch of split={config.split!r} with "
            f"split_hours={config.split_hours} holds it: demand and prices cover {covered}"
        )
    return first_s[fits], number[fits]


def _record(config: Config, requests: traces.Trace) -> tuple[int, np.ndarray, float, float]:
    """The demand as `Arrivals` takes it: kind, values, start and length of the bins."""
    if config.arrivals == "thinned":
        return THINNED, *_held(requests)
    if "count" in requests.columns:
        bin_s = float(requests.time_s[1] - requests.time_s[0])
        record, values, counts = COUNTS, requests["count"], requests["count"]
    else:
        bin_s = 10.0
        record, values = TIMES, requests.time_s
        counts = np.bincount(((values - requests.start_s) // bin_s).astype(np.int64))
    busiest = int(counts.argmax())
    steps = max(config.step_s / bin_s, 1.0)  # a step that is part of a bin draws all of it
    if counts[busiest] * config.request_scale * steps > MOST_ARRIVALS:
        raise ValueError(
            f"{config.invocations_path or 'the synthetic demand'}: the {bin_s:g} s from "
            f"{_utc(requests.start_s + busiest * bin_s)} on have {counts[busiest]} requests; with "
            f"request_scale {config.request_scale} and step_s {config.step_s} that is more than "
            f"{MOST_ARRIVALS} in a step"
        )
    return record, values, requests.start_s, bin_s


def _held(requests: traces.Trace) -> tuple[np.ndarray, float, float]:
    """Counts in bins of 10 s as the source system makes them: around each label, not after it,
    and a bin without requests repeats the one before."""
    bin_s = 10.0
    if "count" in requests.columns:
        bin_s = float(requests.time_s[1] - requests.time_s[0])
        counts, begin_s = requests["count"].astype(float), requests.start_s
    else:
        label = np.round(requests.time_s / bin_s).astype(np.int64)
        counts, begin_s = np.bincount(label - label[0]).astype(float), float(label[0] * bin_s)
    newest = np.maximum.accumulate(np.where(counts > 0, np.arange(len(counts)), 0))
    return counts[newest], begin_s, bin_s


def _span(record: traces.Trace) -> str:
    return f"{_utc(record.start_s)} to {_utc(record.end_s)} UTC"


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
