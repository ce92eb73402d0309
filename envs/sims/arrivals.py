"""When requests arrive and what they ask, drawn ahead of a simulator, for B copies at once.

Three ways to make arrivals of a recorded demand; each request of the record counts `scale` times,
in the mean:

- counts per bin, each request at a uniformly random time of its bin;
- requests with times of their own, at these times;
- thinned counts: in each tick a request arrives with probability min(1, count * scale / 900), at
  the tick. This is not the recorded load (900 is no number of ticks), but that of the system that
  `envs.kv_cache` is compared with.

All randomness comes from one seed per copy by a counter-based generator (splitmix64; Steele, Lea,
Flood 2014). A stream belongs to a bin, so what arrives does not depend on what was decided, nor on
how many copies there are.
"""

import numpy as np
from numba import njit

COUNTS, TIMES, THINNED = range(3)
# In one control step. A kernel that is fed more could not be interrupted for seconds, and a file or
# a setting that asks for it is wrong.
MOST_ARRIVALS = 1_000_000
_TICK_S, _SOURCE_COUNT = 0.05, 900.0


class Arrivals:
    """Arrivals of B copies, step by step.

    Args:
        num_envs: B.
        record: COUNTS, TIMES or THINNED.
        values: requests per bin, or the time of each request in seconds, sorted; [n] float64.
        begin_s: when the first bin begins.
        bin_s: length of a bin; for TIMES, of what shares a stream.
        scale: how often each request counts.
        num_prompts: prompts are drawn uniformly from as many.

    Attributes:
        arrivals: times since the episode began [B, A], prompts [B, A], how many there are [B].
    """

    def __init__(
        self,
        num_envs: int,
        record: int,
        values: np.ndarray,
        begin_s: float,
        bin_s: float,
        scale: float,
        num_prompts: int,
    ):
        self._settings = (record, float(begin_s), float(bin_s), float(scale), num_prompts)
        self._values = np.ascontiguousarray(values, float)
        self._seeds = np.zeros(num_envs, np.uint64)
        self._start_s = np.zeros(num_envs)
        self.arrivals = _room(num_envs, 16)

    def reset(self, copies: np.ndarray, seeds: np.ndarray, start_s: np.ndarray) -> None:
        """These copies' episodes begin at `start_s`, on the record's clock, with these seeds."""
        self._seeds[copies] = seeds
        self._start_s[copies] = start_s

    def advance(self, clock_s: np.ndarray, duration_s: float) -> None:
        """Draw what arrives in [clock_s, clock_s + duration_s) since each episode began, [B]."""
        while True:
            most = _draw(
                *(self._settings, self._values, self._seeds, self._start_s),
                *(clock_s, duration_s, self.arrivals),
            )
            if most <= self.arrivals[0].shape[1]:
                return
            self.arrivals = _room(len(clock_s), 2 * most)

    def counts(self, copy: int, num_steps: int, duration_s: float) -> np.ndarray:
        """How many arrive in each step of a copy's episode, from its beginning: [num_steps]."""
        record, *rest = self._settings
        twin = Arrivals(1, record, self._values, *rest)
        twin.reset(np.arange(1), self._seeds[copy], self._start_s[copy])
        counts, clock_s = np.zeros(num_steps, np.int64), np.zeros(1)
        for step in range(num_steps):
            twin.advance(clock_s, duration_s)
            counts[step] = twin.arrivals[2][0]
            clock_s += duration_s  # as the simulator's clock goes, rounding included
        return counts


def _room(num_envs: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = (num_envs, width)
    return np.zeros(shape), np.zeros(shape, np.int64), np.zeros(num_envs, np.int64)


@njit(cache=True, inline="always")
def _bits(seed, index):
    """64 random bits: place `index` of the sequence of `seed`."""
    z = seed + np.uint64(index + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, inline="always")
def _uniform(seed, index):
    """In (0, 1)."""
    return (np.float64(_bits(seed, index) >> np.uint64(12)) + 0.5) / 4503599627370496.0


@njit(cache=True, inline="always")
def _times(number, uniform):
    """How often something counts that counts `number` times in the mean."""
    whole = np.floor(number)
    return int(whole) + int(uniform >= 1.0 - (number - whole))


@njit(cache=True)
def _draw(settings, values, seeds, start_s, clock_s, duration_s, arrivals):
    """Fill `arrivals`; the largest number of them, for which there may be no room."""
    record, begin_s, bin_s, _, _ = settings
    times, prompts, counts = arrivals
    most = 0
    for b in range(len(seeds)):
        # Times are those of the episode; the record's clock may count from long ago, and rounds.
        from_s, to_s = clock_s[b], clock_s[b] + duration_s
        i = max(int((start_s[b] + from_s - begin_s) / bin_s), 0)
        while i > 0 and begin_s + i * bin_s - start_s[b] > from_s:
            i -= 1
        n = 0
        while record == TIMES or i < len(values):
            bin_at_s = begin_s + i * bin_s - start_s[b]
            if bin_at_s >= to_s:
                break
            window = (bin_at_s, begin_s + (i + 1) * bin_s - start_s[b], from_s, to_s)
            stream = _bits(seeds[b], i)
            if record == COUNTS:
                n = _spread(settings, values[i], stream, window, times[b], prompts[b], n)
            elif record == TIMES:
                n = _copied(settings, values, start_s[b], stream, window, times[b], prompts[b], n)
            else:
                n = _thinned(settings, values[i], stream, window, times[b], prompts[b], n)
            i += 1
        counts[b] = n
        most = max(most, n)
    return most


@njit(cache=True)
def _put(times, prompts, n, at_s, stream, index, num_prompts):
    if n < len(times):
        times[n] = at_s
        prompts[n] = int(_bits(stream, index) % np.uint64(num_prompts))
    return n + 1


@njit(cache=True)
def _spread(settings, count, stream, window, times, prompts, n):
    """Uniform order statistics, as sums of exponential spacings over their total."""
    _, _, _, scale, num_prompts = settings
    bin_at_s, bin_to_s, from_s, to_s = window
    latest_s = np.nextafter(bin_to_s, -np.inf)
    number = _times(count * scale, _uniform(stream, 0))
    total = 0.0
    for j in range(number + 1):
        total -= np.log(_uniform(stream, 2 * j + 1))
    so_far = 0.0
    for j in range(number):
        so_far -= np.log(_uniform(stream, 2 * j + 1))
        at_s = min(bin_at_s + (bin_to_s - bin_at_s) * so_far / total, latest_s)
        if from_s <= at_s < to_s:
            n = _put(times, prompts, n, at_s, stream, 2 * j + 2, num_prompts)
    return n


@njit(cache=True)
def _copied(settings, values, start_s, stream, window, times, prompts, n):
    _, _, _, scale, num_prompts = settings
    bin_at_s, bin_to_s, from_s, to_s = window
    latest_s = np.nextafter(bin_to_s, -np.inf)
    first = np.searchsorted(values, start_s + bin_at_s)
    place = 0
    for j in range(first, np.searchsorted(values, start_s + bin_to_s)):
        at_s = min(max(values[j] - start_s, bin_at_s), latest_s)
        for _ in range(_times(scale, _uniform(stream, 2 * (j - first)))):
            if from_s <= at_s < to_s:
                n = _put(times, prompts, n, at_s, stream, 2 * place + 1, num_prompts)
            place += 1
    return n


@njit(cache=True)
def _thinned(settings, count, stream, window, times, prompts, n):
    _, _, bin_s, scale, num_prompts = settings
    bin_at_s, _, from_s, to_s = window
    chance = count * scale / _SOURCE_COUNT
    for j in range(round(bin_s / _TICK_S)):
        at_s = bin_at_s + j * _TICK_S
        if from_s <= at_s < to_s and _uniform(stream, 2 * j) < chance:
            n = _put(times, prompts, n, at_s, stream, 2 * j + 1, num_prompts)
    return n
