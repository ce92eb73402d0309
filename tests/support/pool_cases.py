"""Serving pools for tests: one that is played by hand, and small random ones."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from reference_pool_events import Request, played

from marlserve.envs.sims.serving_pool import DENY, J_PER_MWH, ServingPool

SERVERS = 3  # of a scenario


def padded(copies: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Times and prompts of the arrivals of each copy, as `ServingPool.advance` takes them."""
    number = np.array([len(time_s) for time_s, _ in copies])
    times = np.zeros((len(copies), number.max()))
    prompts = np.zeros(times.shape, np.int64)
    for b, (time_s, prompt) in enumerate(copies):
        times[b, : number[b]], prompts[b, : number[b]] = time_s, prompt
    return times, prompts, number


class Case:
    """One copy whose configuration c serves prompt r in (c + 1) * work_s[r] seconds, at 100 W.

    `records` are (arrival_s, start_s or None, end_s, config, outcome).
    """

    def __init__(self, work_s=(4.0,), num_servers=1, **rules):
        service_s = np.array([1.0, 2.0])[:, None] * np.array(work_s)
        rules = {"max_waiting": 8, "timeout_s": 100.0, "record": True} | rules
        self.pool = ServingPool(1, num_servers, service_s, 100.0 * service_s, service_s, **rules)
        self.records = []

    def step(self, *arrivals_s, duration_s=10.0, action=0, price=0.0, prompt=0) -> np.void:
        """What flowed in this step."""
        times = np.array(arrivals_s, float)
        arrivals = padded([(times, np.full(len(times), prompt))])
        self.pool.advance(duration_s, np.array([action]), np.array([price]), arrivals)
        names = ["arrival_s", "start_s", "end_s", "config", "outcome"]
        shown = self.pool.records(0)[names].tolist()
        self.records += [tuple(None if x != x else x for x in record) for record in shown]
        return self.pool.step[0].copy()


@dataclass
class Scenario:
    """Some copies of a pool of `SERVERS`, step by step."""

    rules: dict
    service_s: np.ndarray  # [C, R]
    energy_j: np.ndarray
    score: np.ndarray
    arrivals: list[tuple[np.ndarray, np.ndarray]]  # of each copy: times, prompts
    actions: np.ndarray  # [K, B]
    prices: np.ndarray
    step_s: float

    @property
    def end_s(self) -> float:
        return len(self.actions) * self.step_s

    def play(self, copies: list[int]) -> tuple[ServingPool, list[np.ndarray]]:
        """Only these copies: the pool at the end, and the records of each."""
        profile = (self.service_s, self.energy_j, self.score)
        pool = ServingPool(len(copies), SERVERS, *profile, record=True, **self.rules)
        records = [[] for _ in copies]
        for k in range(len(self.actions)):
            due = []
            for b in copies:
                time_s, prompts = self.arrivals[b]
                now = time_s // self.step_s == k
                due.append((time_s[now], prompts[now]))
            actions, prices = self.actions[k, copies], self.prices[k, copies]
            pool.advance(self.step_s, actions, prices, padded(due))
            for place, parts in enumerate(records):
                parts.append(pool.records(place).copy())
        return pool, [np.concatenate(parts) for parts in records]

    def reference(self, b: int) -> list[Request]:
        """The requests of a copy by plain Python, in order of arrival."""
        time_s, prompts = self.arrivals[b]
        configs = self.actions[(time_s // self.step_s).astype(int), b]
        requests = []
        for arrival_s, config, r in zip(
            time_s.tolist(), configs.tolist(), prompts.tolist(), strict=True
        ):
            service_s = math.inf if config == DENY else float(self.service_s[config, r])
            requests.append(Request(arrival_s, config, r, service_s))
        rules = (self.rules["max_waiting"], self.rules["timeout_s"])
        return played(requests, SERVERS, *rules, self.end_s)

    def served_s(self, request: Request) -> np.ndarray:
        """Seconds of service in each step, [K]."""
        if request.start_s is None:
            return np.zeros(len(self.actions))
        edges_s = np.arange(len(self.actions) + 1) * self.step_s
        end_s = request.start_s + request.service_s
        seconds = np.minimum(edges_s[1:], end_s) - np.maximum(edges_s[:-1], request.start_s)
        return np.maximum(seconds, 0.0)

    def cost_usd(self, b: int, request: Request) -> float:
        """Of its energy, at the price of each moment of service."""
        if request.start_s is None:
            return 0.0
        power_w = self.energy_j[request.config, request.prompt] / request.service_s
        paid = self.served_s(request) @ self.prices[:, b]
        return float(power_w * paid * self.rules["pue"] / J_PER_MWH)


@st.composite
def scenarios(draw) -> Scenario:
    """With ties, all times are multiples of 1/4, so that sums are exact and events coincide."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ties, copies = draw(st.booleans()), draw(st.integers(1, 4))
    num_steps, step_s = draw(st.integers(1, 12)), draw(st.sampled_from([0.5, 2.0, 8.0]))
    end_s, prompts = num_steps * step_s, 20
    service_s = rng.uniform(0.3, 6.0, (2, prompts))
    times = [np.sort(rng.uniform(0.0, end_s, rng.integers(0, 80))) for _ in range(copies)]
    if ties:
        service_s = np.ceil(4.0 * service_s) / 4.0
        times = [np.floor(4.0 * time_s) / 4.0 for time_s in times]
    return Scenario(
        rules={
            "max_waiting": draw(st.sampled_from([0, 1, 2, 7, 100])),
            "timeout_s": draw(st.sampled_from([0.5, 1.75, 4.0, 1000.0])),
            "idle_w": 25.0,
            "pue": 1.3,
            "cost_cap_usd": 1e-5,
        },
        service_s=service_s,
        energy_j=rng.uniform(0.0, 900.0, (2, prompts)),
        score=rng.uniform(0.0, 1.0, (2, prompts)),
        arrivals=[(time_s, rng.integers(prompts, size=len(time_s))) for time_s in times],
        actions=rng.choice([0, 0, 1, 1, DENY], (num_steps, copies)),
        prices=rng.uniform(-60.0, 200.0, (num_steps, copies)),
        step_s=step_s,
    )
