"""What the operator sees: every feature, how it fades, and that nothing of the future shows."""

from datetime import UTC, datetime

import numpy as np
import pytest
from kv_cases import (
    COPIES,
    CROWDED,
    NUM_ACTIONS,
    START,
    counts_csv,
    crowded,
    prices_csv,
    requests_csv,
    steps,
)

from marlserve.envs.kv_cache import Config, Problem
from marlserve.envs.kv_cache.observation import STATE_FEATURES
from marlserve.envs.sims.serving_pool import OUTCOMES


def shown(problem: Problem) -> dict[str, np.ndarray]:
    """The observation by feature, [B] each."""
    seen = problem.observations()[:, 0].astype(float).T
    by_feature = dict(zip(STATE_FEATURES, seen, strict=False))
    return by_feature | {"last_action": seen[len(STATE_FEATURES) :]}


def on_scale(value, scale):
    return value / (np.abs(value) + scale)


def test_every_feature_by_hand():
    """From the flows of all steps so far, records and traces, after every tenth step."""
    problem, actions = crowded()
    profile, servers, prices = problem.profile, 50, problem.demand.usd_per_mwh
    busy_per_s = profile.service_s[-1].mean() / servers  # of an arrival in a second
    most_w = servers * (profile.energy_j / profile.service_s).max()
    flows, done = [], []
    for k, _ in steps(problem, [1, 2, 3], lambda k: actions[k]):
        flows.append(problem.pool.step.copy())
        done.append([problem.pool.records(b).copy() for b in range(COPIES)])
        if k % 10:
            continue
        flow = {name: np.array([step[name] for step in flows]) for name in flows[0].dtype.names}
        age_s = 10.0 * np.arange(k, -1, -1)

        def faded(name, half_s, flow=flow, age_s=age_s):
            return 0.5 ** (age_s / half_s) @ flow[name]

        def rate(half_s, faded=faded, age_s=age_s):
            return faded("arrived", half_s) / (0.5 ** (age_s / half_s)).sum() / 10.0

        now = [datetime.fromtimestamp(t, UTC) for t in problem.demand.start_s + 10.0 * (k + 1)]
        day = np.array([(t.hour + t.minute / 60 + t.second / 3600) / 24 for t in now])
        week = (np.array([t.weekday() for t in now]) + day) / 7
        newest = prices[problem.price_index[:, None] + np.arange(-6, 1)]
        slopes = [np.polyfit(np.arange(7) / 12, half_hour, 1)[0] for half_hour in newest]
        inside = [problem.pool.in_system(b) for b in range(COPIES)]
        running = [requests[~np.isnan(requests["start_s"])] for requests in inside]
        busy = np.array([len(requests) for requests in running])
        waiting = np.array([len(requests) for requests in inside]) - busy
        power_w = [(requests["energy_j"] / requests["service_s"]).sum() for requests in running]
        scores = faded("score", 60) / (faded("completed", 60) + 1.0)
        expected = {
            "utilisation": busy / servers,
            "waiting_ratio": waiting / 20,
            "queue": on_scale(waiting / servers, 0.05),
            "power": np.array(power_w) / most_w,
            "recent_wait": faded("wait_s", 60) / (faded("waits", 60) + 1.0) / 9.0,
            "recent_score": np.minimum(scores / profile.score[-1].mean(), 1.0),
            "recent_losses": (faded("timed_out", 30) + faded("failed", 30))
            / (faded("arrived", 30) + 1.0),
            "energy_price": np.clip(newest[:, -1] / 100.0, -1.0, 1.0),
            "energy_price_level": on_scale(newest[:, -1], 50.0),
            "energy_price_trend": on_scale(np.array(slopes), 50.0),
            "request_rate": on_scale(flow["arrived"][-1] / 10.0 * busy_per_s, 1.0),
            "request_rate_mean": on_scale(rate(150) * busy_per_s, 1.0),
            "request_rate_trend": (rate(30) - rate(900)) / (rate(30) + rate(900)),
            "time_of_day_sin": np.sin(2 * np.pi * day),
            "time_of_day_cos": np.cos(2 * np.pi * day),
            "day_of_week_sin": np.sin(2 * np.pi * week),
            "day_of_week_cos": np.cos(2 * np.pi * week),
            "last_action": np.eye(NUM_ACTIONS)[actions[k]].T,
        }
        seen = shown(problem)
        assert expected.keys() - {"last_action"} | {"recent_p95_latency"} == set(STATE_FEATURES)
        for name, value in expected.items():
            np.testing.assert_allclose(seen[name], value, atol=2e-6, err_msg=name)
        for b, found in enumerate(seen["recent_p95_latency"]):
            p95_s = faded_p95_s([parts[b] for parts in done], age_s)
            width_s = (9.0 + profile.service_s.max()) / 48
            assert 20.0 * found / (1.0 - found) == pytest.approx(p95_s, abs=width_s)
    assert all((problem.pool.total[name] > 10).all() for name in OUTCOMES), "everything happened"


def faded_p95_s(steps: list[np.ndarray], age_s: np.ndarray) -> float:
    """Of the latencies in these steps' records; towards 0 when less than one request is left."""
    records, weights = np.concatenate(steps), 0.5 ** (age_s / 60.0)
    weights = weights.repeat([len(records) for records in steps])
    done = records["outcome"] == OUTCOMES["completed"]
    latency_s, weights = (records["end_s"] - records["arrival_s"])[done], weights[done]
    if not len(latency_s):
        return 0.0
    order = latency_s.argsort()
    below = weights[order].cumsum()
    return float(latency_s[order][(below >= 0.95 * below[-1]).argmax()] * min(below[-1], 1.0))


def test_the_first_observation_is_empty_but_for_price_and_time():
    problem = Problem(CROWDED)
    problem.reset([0])
    for name, value in shown(problem).items():
        if not name.startswith(("energy_price", "time_of_day", "day_of_week")):
            assert not np.any(value), name


def test_the_recent_fades_where_nothing_comes(tmp_path):
    """An hour without requests after a crowd: latency and losses are forgotten."""
    config = Config(
        num_servers=2,
        max_waiting=4,
        invocations_path=counts_csv(tmp_path / "counts.csv", [30] * 12 + [0] * 420),
        price_path=prices_csv(tmp_path / "prices.csv", [50.0] * 14),
        start_time=START,
        episode_hours=1.1,
    )
    problem = Problem(config)
    names = ["recent_wait", "recent_p95_latency", "recent_losses", "request_rate_mean"]
    for k, _ in steps(problem, [0], lambda k: [5]):
        if k in (11, 395):
            values = np.array([shown(problem)[name][0] for name in names])
            assert (values > 0.3).all() if k == 11 else (values < 0.01).all()


@pytest.mark.parametrize("arrivals", ["recorded", "thinned"])
@pytest.mark.parametrize("form", ["counts", "requests"])
def test_nothing_of_the_future_is_seen(tmp_path, arrivals, form):
    """Two demands and prices that differ from 600 s on. A label of the source system's bins is
    their middle, so that its thinned requests know of 5 s more."""
    rng, problems = np.random.default_rng(0), []
    counts, prices = rng.integers(50, 400, 120), rng.uniform(0, 90, 5)
    times_s = np.sort(rng.uniform(0, 1200, 8000))
    for later in (0, 1):
        if form == "counts":
            counts[60:] = counts[60:] // (1 + later)
            path = counts_csv(tmp_path / f"{later}.csv", counts)
        else:
            times_s = np.delete(times_s, np.flatnonzero(times_s >= 600)[: later * 900])
            path = requests_csv(tmp_path / f"{later}.csv", times_s)
        prices[2:] += later
        config = Config(
            num_servers=60,
            invocations_path=path,
            price_path=prices_csv(tmp_path / f"{later}_prices.csv", prices),
            start_time="2024-05-10 00:00:10",
            episode_hours=0.3,
            arrivals=arrivals,
        )
        problems.append(Problem(config, 2))
    seen = [[problem.reset([1, 2])] for problem in problems]
    for k in range(problems[0].config.num_steps):
        for problem, parts in zip(problems, seen, strict=True):
            parts.append(problem.step(np.full((2, 1), k % NUM_ACTIONS))[0])
    equal = [np.array_equal(*pair) for pair in zip(*seen, strict=True)]
    assert all(equal[:59]), "up to 590 s of the episode's clock, whose 0 is at 10 s"
    assert not any(equal[59 + (arrivals == "thinned") : 80])
    prices_seen = [np.array(parts)[:, 0, 0, STATE_FEATURES.index("energy_price")] for parts in seen]
    assert (prices_seen[0] != prices_seen[1]).tolist() == [k >= 59 for k in range(109)]
