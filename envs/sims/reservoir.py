"""Reservoirs: what a balancer remembers of the flows it has seen, in constant memory.

Each reservoir holds up to `size` samples of a stream. Two rules decide which:

- "overwrite": a full reservoir replaces a slot chosen uniformly at random by every new sample
  (kept with probability `keep`). Ages are then geometric, so it forgets (Yao et al. 2022,
  arXiv 2201.11727).
- "algorithm_r": sample number n replaces a random slot with probability size / n, which leaves a
  uniform sample of the whole stream (Vitter 1985, algorithm R). Old samples never fade, so after
  a change of regime its statistics go stale.

`features` gives, per reservoir, five statistics in seconds over its n samples x_k of age a_k:

    mean               sum x_k / n
    p90                90th percentile, linear interpolation
    std                population standard deviation
    discounted mean    sum 0.9^a_k x_k / n          (not divided by the discounts, as in the paper)
    discounted p90     90th percentile of 0.9^a_k x_k

All zero while a reservoir is empty.
"""

import math

import numpy as np
from numba import njit

FEATURES = ("mean", "p90", "std", "discounted_mean", "discounted_p90")
RULES = ("overwrite", "algorithm_r")
DISCOUNT_PER_S = 0.9
_LOG_DISCOUNT = math.log(DISCOUNT_PER_S)
_STEP = np.float32(0.96)  # by which a guess is lowered until the percentile lies above it
_FEW = 12  # ranks, up to which a percentile is found by passes rather than by Hoare's method
_REBASE_S = 250.0  # 0.9 ** -250 = 3e11: far inside float32


class Reservoirs:
    """R reservoirs in each of B copies; `seen` [B, R] counts the samples offered to each.

    Args:
        num_envs: B.
        num_reservoirs: R.
        size: samples that a reservoir holds.
        rule: one of `RULES`.
        keep: probability that "overwrite" takes a sample into a full reservoir.

    Raises:
        ValueError: for an argument outside these bounds.
    """

    def __init__(
        self,
        num_envs: int,
        num_reservoirs: int,
        size: int = 128,
        rule: str = "overwrite",
        keep: float = 1.0,
    ):
        if rule not in RULES:
            raise ValueError(f"rule is {rule!r}; allowed are {RULES}")
        if size < 1 or not 0.0 < keep <= 1.0:
            raise ValueError(f"size is {size}, keep is {keep}; size >= 1 and 0 < keep <= 1")
        self._vitter, self._keep = rule == "algorithm_r", keep
        # Of a sample: its value, and 0.9 ** -(its time - base_s), so that no power is taken twice.
        self._values = np.zeros((num_envs, num_reservoirs, size), np.float32)
        self._growths = np.zeros((num_envs, num_reservoirs, size), np.float32)
        self.seen = np.zeros((num_envs, num_reservoirs), np.int64)
        self._base_s = np.zeros(num_envs)
        self._random = np.zeros(num_envs, np.uint64)
        self._features = np.zeros((num_envs, num_reservoirs, len(FEATURES)), np.float32)

    def reset(self, copy: int, seed: int) -> None:
        """Empty the reservoirs of one copy; `seed` (uint64) decides its random slots."""
        self.seen[copy] = 0
        self._base_s[copy] = 0.0
        self._features[copy] = 0.0
        self._random[copy] = seed

    def add(self, lengths: np.ndarray, samples: np.ndarray, first: int = 0) -> None:
        """Add the first lengths[b] records of samples[b] (dtype `cluster_arrays.LOG`), in order.

        A record goes to reservoir `first + pair`.
        """
        _add(
            *(lengths, samples, first, self._vitter, self._keep),
            *(self._values, self._growths, self.seen, self._base_s, self._random),
        )

    def samples(self, copy: int, reservoir: int) -> np.ndarray:
        """The values that one reservoir holds, in its slots' order."""
        held = min(self.seen[copy, reservoir], self._values.shape[2])
        return self._values[copy, reservoir, :held].copy()

    def features(self, now_s: np.ndarray) -> np.ndarray:
        """The five statistics of every reservoir at time now_s [B]: [B, R, 5], seconds."""
        _features(*(now_s, self._values, self._growths, self.seen, self._base_s, self._features))
        return self._features.copy()


@njit(cache=True)
def _next(random, b):
    """A uniform 64-bit integer (splitmix64, Steele, Lea and Flood 2014)."""
    random[b] += np.uint64(0x9E3779B97F4A7C15)
    z = random[b]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True)
def _uniform(random, b):
    return (_next(random, b) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def _rebase(now_s, b, growths, base_s):
    """Count growth from now on, before it is too large for float32."""
    decay = np.float32(DISCOUNT_PER_S ** (now_s - base_s[b]))
    for r in range(growths.shape[1]):  # loops, as whole arrays take numba seconds more to compile
        for k in range(growths.shape[2]):
            growths[b, r, k] *= decay
    base_s[b] = now_s


@njit(cache=True)
def _add(lengths, samples, first, vitter, keep, values, growths, seen, base_s, random):
    size = values.shape[2]
    for b in range(len(lengths)):
        for i in range(lengths[b]):
            sample = samples[b, i]
            r = first + sample.pair
            if sample.time_s - base_s[b] > _REBASE_S:  # seldom: a call each time would cost most
                _rebase(sample.time_s, b, growths, base_s)
            slot = seen[b, r]
            seen[b, r] += 1
            if slot >= size:
                if vitter:
                    slot = int(_uniform(random, b) * seen[b, r])
                    if slot >= size:
                        continue
                elif keep < 1.0 and _uniform(random, b) >= keep:
                    continue
                else:
                    slot = int(_uniform(random, b) * size)
            values[b, r, slot] = sample.value_s
            growths[b, r, slot] = math.exp((base_s[b] - sample.time_s) * _LOG_DISCOUNT)


@njit(cache=True)
def _select(x, k):
    """Put the k-th smallest in its place, smaller ones before it (Hoare's quickselect)."""
    low, high = 0, len(x) - 1
    while low < high:
        pivot, i, j = x[k], low, high
        while i <= j:
            while x[i] < pivot:
                i += 1
            while pivot < x[j]:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i, j = i + 1, j - 1
        if j < k:
            low = i
        if k < i:
            high = j


@njit(cache=True, fastmath=True)
def _count_above(x, level):
    count = 0
    for i in range(len(x)):
        count += x[i] > level
    return count


@njit(cache=True)
def _percentile_90(x, guess, scratch):
    """90th percentile of x. A guess that is near, such as the last one, spares most of x."""
    rank = 0.9 * (len(x) - 1)
    k, large = int(rank), _count_above(x, guess)
    for _ in range(8):
        if large >= len(x) - k:
            break
        guess *= _STEP
        large = _count_above(x, guess)
    if large < len(x) - k:
        large = len(x)
        for i in range(large):
            scratch[i] = x[i]
    else:
        large = 0
        for i in range(len(x)):
            scratch[large] = x[i]
            large += x[i] > guess
    k -= len(x) - large
    first = 0
    if k > _FEW:
        _select(scratch[:large], k)
        first = k
    for i in range(first, min(k + 2, large)):  # without branches: bring the least to place i
        least = scratch[i]
        for j in range(i + 1, large):
            least, scratch[j] = min(scratch[j], least), max(scratch[j], least)
        scratch[i] = least
    if k + 1 == large:
        return scratch[k]
    return scratch[k] + (rank - int(rank)) * (scratch[k + 1] - scratch[k])


@njit(cache=True, fastmath=True)
def _features(now_s, values, growths, seen, base_s, out):
    """`out` comes with the features of an earlier time: they are the guesses."""
    num_copies, num_reservoirs, size = values.shape
    discounted, scratch = np.empty(size, np.float32), np.empty(size + 1, np.float32)
    for b in range(num_copies):
        if now_s[b] - base_s[b] > _REBASE_S:
            _rebase(now_s[b], b, growths, base_s)
        decay = np.float32(DISCOUNT_PER_S ** (now_s[b] - base_s[b]))
        for r in range(num_reservoirs):
            n = min(seen[b, r], size)
            if n == 0:
                out[b, r] = 0.0
                continue
            x, growth = values[b, r, :n], growths[b, r, :n]
            total = total_discounted = np.float32(0.0)
            for k in range(n):
                discounted[k] = x[k] * (growth[k] * decay)
                total += x[k]
                total_discounted += discounted[k]
            mean = total / np.float32(n)
            squares = np.float32(0.0)
            for k in range(n):
                squares += (x[k] - mean) * (x[k] - mean)
            features = out[b, r]
            features[0] = mean
            features[1] = _percentile_90(x, features[1], scratch)
            features[2] = np.sqrt(squares / np.float32(n))
            features[3] = total_discounted / np.float32(n)
            features[4] = _percentile_90(discounted[:n], features[4], scratch)
