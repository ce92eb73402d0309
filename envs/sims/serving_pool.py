"""A pool of servers that each serve one request at a time, from one queue, event by event.

Model, for each of B independent copies:

- `num_servers` equal servers. A request that finds one free begins at once; else it waits, first
  come first served, if fewer than `max_waiting` wait, and fails if not. One that has waited
  `timeout_s` gives up.
- A request is served under the configuration that was in force as it arrived. Its service time,
  energy and quality are those of its prompt under that configuration, by the profile.
- A request draws constant power, its energy over its service time; a free server draws `idle_w`.
  What the meter shows is that times the PUE. The price of electricity is constant within a step.

Everything is deterministic given the arrivals. With one configuration of exponential service times,
arrivals at random and no time-out this is M/M/c; the tests hold it to that, to M/M/c/K and to
M/G/infinity.
"""

import numpy as np

from marlserve.envs.sims import serving_pool_kernel as kernel
from marlserve.envs.sims.serving_pool_kernel import COPY, DENY, FLOWS, RECORD, REQUEST, Rules

J_PER_MWH = 3.6e9
OUTCOMES = {
    "completed": kernel.COMPLETED,
    "denied": kernel.DENIED,
    "failed": kernel.FAILED,
    "timed_out": kernel.TIMED_OUT,
}
_WAIT_BINS, _LATENCY_BINS = 1000, 20 * kernel.RECENT_BINS

__all__ = ["COPY", "DENY", "FLOWS", "J_PER_MWH", "OUTCOMES", "RECORD", "REQUEST", "ServingPool"]


class ServingPool:
    """B copies of one pool.

    Public arrays, with the fields of `COPY` and `FLOWS`: `copies` [B], the state; `step` [B] and
    `total` [B], what flowed in the last step and since the episode began: requests `arrived`,
    `completed`, `denied`, `failed` and `timed_out`; of completed ones the sums of `score`,
    `latency_s` and `capped_cost` (each the energy cost at the price of its arrival over
    `cost_cap_usd`, at most 1); `wait_s` of the `waits` that ended in service or a time-out;
    server-seconds `busy_s`, request-seconds `queue_s`; energy at the servers `request_j` and
    `idle_j`; and `cost_usd` of both with the PUE.

    Args:
        num_envs: B.
        num_servers: of each copy.
        service_s: [C, R], positive: seconds for prompt r under configuration c.
        energy_j: [C, R], joules, not negative.
        score: [C, R], quality.
        max_waiting: how many may wait.
        timeout_s: after which a waiting request gives up.
        idle_w: watts of a server without a request.
        pue: power usage effectiveness, what the site draws over what the servers draw.
        cost_cap_usd: see above.
        recent_s: half-life of what `recent` tells.
        record: keep a `RECORD` of every request that is over, for `records`.

    Raises:
        ValueError: for an argument outside these bounds.
    """

    def __init__(
        self,
        num_envs: int,
        num_servers: int,
        service_s: np.ndarray,
        energy_j: np.ndarray,
        score: np.ndarray,
        *,
        max_waiting: int,
        timeout_s: float,
        idle_w: float = 0.0,
        pue: float = 1.0,
        cost_cap_usd: float = np.inf,
        recent_s: float = 60.0,
        record: bool = False,
    ):
        profile = tuple(np.ascontiguousarray(x, float) for x in (service_s, energy_j, score))
        shape = profile[0].shape
        if len(shape) != 2 or 0 in shape or any(x.shape != shape for x in profile):
            raise ValueError(
                f"service_s, energy_j and score have shapes {[x.shape for x in profile]}; they "
                "must be equal, [configurations, prompts]"
            )
        for name, values, low in zip(
            ("service_s", "energy_j", "score"), profile, (1e-9, 0.0, -np.inf), strict=True
        ):
            if not (good := np.isfinite(values) & (values >= low)).all():
                raise ValueError(f"{name} has {values[~good][0]}; it must be finite, {low} or more")
        for name, value, good, allowed in (
            ("num_envs", num_envs, num_envs >= 1, "at least 1"),
            ("num_servers", num_servers, num_servers >= 1, "at least 1"),
            ("max_waiting", max_waiting, max_waiting >= 0, "at least 0"),
            ("timeout_s", timeout_s, 0.0 < timeout_s < np.inf, "positive and finite"),
            ("idle_w", idle_w, 0.0 <= idle_w < np.inf, "at least 0"),
            ("pue", pue, 1.0 <= pue < np.inf, "at least 1"),
            ("cost_cap_usd", cost_cap_usd, cost_cap_usd > 0.0, "positive"),
            ("recent_s", recent_s, recent_s > 0.0, "positive"),
        ):
            if not good:
                raise ValueError(f"{name} is {value}; it must be {allowed}")
        b = num_envs
        self.num_envs, self.num_servers, self.num_configs = b, num_servers, shape[0]
        self.copies = np.zeros(b, COPY)
        self.step, self.total = np.zeros(b, FLOWS), np.zeros(b, FLOWS)
        longest_s = timeout_s + float(profile[0].max())
        self._rules = Rules(
            *(num_servers, max_waiting, float(timeout_s), float(idle_w), pue / J_PER_MWH),
            *(float(cost_cap_usd), float(recent_s)),
            wait_bin_s=timeout_s / _WAIT_BINS,
            latency_bin_s=longest_s / _LATENCY_BINS,
        )
        self._profile = profile
        self._running = np.zeros((b, num_servers), REQUEST)
        self._finish_s = np.zeros((b, num_servers))
        self._slot = np.tile(np.arange(num_servers), (b, 1))
        self._queue = np.zeros((b, max_waiting + 2), REQUEST)  # a ring, and a place to draft
        self._waits = np.zeros((b, _WAIT_BINS + 1), np.int64)
        self._latencies = np.zeros((b, _LATENCY_BINS + 1), np.int64)
        self._recent = np.zeros((b, kernel.RECENT_BINS))
        self._arrays = (
            *(self._running, self._finish_s, self._slot, self._queue),
            *(self._waits, self._latencies, self._recent),
        )
        self._record = record
        self._logs = (np.zeros((b, 0), RECORD), np.zeros(b, np.int64))

    def reset(self, copies: np.ndarray) -> None:
        """Empty the copies with these indices, and set their clocks to 0."""
        self.copies[copies] = 0
        for array in (self.step, self.total, self._waits, self._latencies, self._recent):
            array[copies] = 0
        self._logs[1][copies] = 0
        self._slot[copies] = np.arange(self.num_servers)

    def advance(
        self,
        duration_s: float,
        actions: np.ndarray,
        usd_per_mwh: np.ndarray,
        arrivals: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """Play one step of all copies.

        Args:
            duration_s: of the step.
            actions: [B] int64, the configuration of what arrives, or `DENY`.
            usd_per_mwh: [B] float64, the price in this step.
            arrivals: times [B, >= A] float64, sorted, on the copy's clock and within the step;
                the prompts that they ask [B, >= A] int64; and how many there are [B] int64.

        Raises:
            ValueError: for an action that is none, and arrivals before or after the step.
        """
        if actions.min() < DENY or actions.max() >= self.num_configs:
            raise ValueError(
                f"actions are {actions.tolist()}; allowed are 0 to {self.num_configs - 1} and "
                f"{DENY} to deny"
            )
        if self._record:
            most = int(arrivals[2].max()) + self.num_servers + self._rules.max_waiting
            if self._logs[0].shape[1] < most:
                self._logs = (np.zeros((self.num_envs, most), RECORD), self._logs[1])
        # Views are made anew, as they would not be views any more in a pickled twin.
        flows = (self.copies, self.step, _values(self.step), _values(self.total))
        wrong = kernel.advance(
            *(duration_s, self._rules, self._profile, actions, usd_per_mwh),
            *(arrivals, flows, self._arrays, self._logs),
        )
        if wrong >= 0:
            begin_s = self.copies["clock_s"][wrong]
            times = arrivals[0][wrong, : arrivals[2][wrong]]
            raise ValueError(
                f"arrivals of copy {wrong} are at {times[0]} to {times[-1]} s; the step is "
                f"[{begin_s}, {begin_s + duration_s})"
            )

    def records(self, copy: int) -> np.ndarray:
        """The requests that were over within the last step, as `RECORD`."""
        return self._logs[0][copy, : self._logs[1][copy]]

    def in_system(self, copy: int) -> np.ndarray:
        """The requests in service, then those that wait, as `REQUEST`."""
        state = self.copies[copy]
        ring = (state["head"] + np.arange(state["waiting"])) % (self._queue.shape[1] - 1)
        running = self._running[copy, self._slot[copy, : state["busy"]]]
        return np.concatenate([running, self._queue[copy, ring]])

    def wait_percentile(self, percent: float) -> np.ndarray:
        """Of all waits so far, in seconds, to a thousandth of the time-out: [B]; 0 before any."""
        return _percentile(self._waits, percent) * self._rules.wait_bin_s

    def latency_percentile(self, percent: float) -> np.ndarray:
        """Of completed requests, in seconds, to about 60 ms: [B]; 0 before any."""
        return _percentile(self._latencies, percent) * self._rules.latency_bin_s

    @property
    def recent_latencies(self) -> np.ndarray:
        """Completed requests by latency, fading: [B, bins] of equal width up to the longest."""
        return self._recent


def _values(flows: np.ndarray) -> np.ndarray:
    """The same memory as numbers, [B, fields]."""
    return flows.view(np.float64).reshape(len(flows), -1)


def _percentile(histograms: np.ndarray, percent: float) -> np.ndarray:
    """Where the histograms [B, bins] reach this share, in bins. Bin i holds (i - 1, i]."""
    below = histograms.cumsum(axis=1)
    wanted = percent / 100.0 * below[:, -1]
    bins = (below < wanted[:, None]).sum(axis=1)
    copies = np.arange(len(histograms))
    surplus = below[copies, bins] - wanted
    within = bins - surplus / np.maximum(histograms[copies, bins], 1)
    return np.maximum(within, 0.0)
