"""The pool in ticks of 50 ms agrees with the compiled one, to what ticks can tell."""

import numpy as np
import pytest

from marlserve.envs.kv_cache import demand, rewards
from marlserve.envs.sims.serving_pool import DENY, ServingPool
from marlserve.experiments.benchmarks.reference_pool import TICKS_PER_S, Pool

STEPS, STEP_S, SERVERS, PRICE, PUE = 600, 10.0, 40, 60.0, 1.3
TICKS = round(STEP_S * TICKS_PER_S)


@pytest.fixture(scope="module")
def profile():
    return demand.profile("", 0)


def prompts_of(rate_per_s: float, num_prompts: int) -> list[list[int | None]]:
    """For every step and tick, the prompt that arrives, if any."""
    rng = np.random.default_rng(1)
    arrives = rng.random((STEPS, TICKS)) < rate_per_s / TICKS_PER_S
    prompts = rng.integers(num_prompts, size=arrives.shape)
    return [
        [int(p) if a else None for a, p in zip(row, chosen, strict=True)]
        for row, chosen in zip(arrives, prompts, strict=True)
    ]


def both(profile, rate_per_s: float, max_waiting: int, actions: list[int]) -> tuple[dict, dict]:
    """Totals of the pool in ticks, and of the compiled one, on the same arrivals."""
    columns = (profile.service_s, profile.energy_j, profile.score)
    rules = {"max_waiting": max_waiting, "timeout_s": 10.0, "pue": PUE}
    pool = Pool(SERVERS, *(column.tolist() for column in columns), **rules)
    compiled = ServingPool(1, SERVERS, *columns, **rules, cost_cap_usd=rewards.COST_CAP_USD)
    source = mean_reward = 0.0
    for step, prompts in enumerate(prompts_of(rate_per_s, profile.service_s.shape[1])):
        action = actions[step % len(actions)]
        mean_reward += pool.step(action, PRICE, prompts) / STEPS
        ticks = [tick for tick, prompt in enumerate(prompts) if prompt is not None]
        times_s = step * STEP_S + np.array(ticks, float) / TICKS_PER_S
        asked = np.array([prompts[tick] for tick in ticks], np.int64)
        arrivals = (times_s[None], asked[None], np.array([len(ticks)]))
        compiled.advance(STEP_S, np.array([action]), np.array([PRICE]), arrivals)
        flows = compiled.step[0]
        ended = sum(flows[name] for name in ("completed", "denied", "failed", "timed_out"))
        value = rewards.SUCCESS * flows["completed"] + rewards.SCORE_WEIGHT * flows["score"]
        value += rewards.DENIAL * flows["denied"] - rewards.ENERGY_WEIGHT * flows["capped_cost"]
        source += value / max(ended, 1.0) / STEPS
    total = compiled.total[0]
    in_ticks = {name: getattr(pool, name) for name in ("completed", "denied", "failed")}
    in_ticks |= {"timed_out": pool.timed_out, "score": pool.score, "reward": mean_reward}
    in_ticks["energy_j"], in_ticks["cost_usd"] = pool.energy_j, pool.cost_usd
    in_ticks["in_system"] = pool.busy + pool.waiting
    exact = {name: total[name] for name in ("completed", "denied", "failed", "timed_out", "score")}
    exact |= {"reward": source, "energy_j": total["request_j"], "cost_usd": total["cost_usd"]}
    exact["in_system"] = len(compiled.in_system(0))
    return in_ticks, exact


@pytest.mark.parametrize(
    ("rate_per_s", "max_waiting", "actions"),
    [
        (0.5, 200, [0, 3, 5]),  # nobody waits
        (2.2, 200, [5, 5, 0]),  # congested: some give up
        (4.0, 12, [5, 0, DENY]),  # overloaded: many fail, some are denied
    ],
)
def test_ticks_and_events_tell_the_same_story(profile, rate_per_s, max_waiting, actions):
    in_ticks, exact = both(profile, rate_per_s, max_waiting, actions)
    assert in_ticks["denied"] == exact["denied"]
    assert in_ticks["completed"] == pytest.approx(exact["completed"], rel=0.01)
    for name in ("score", "reward"):
        assert in_ticks[name] == pytest.approx(exact[name], rel=0.01), name
    for name in ("energy_j", "cost_usd"):  # as it completes, and as it is drawn
        assert in_ticks[name] == pytest.approx(exact[name], rel=0.02), name
    arrived = sum(exact[name] for name in ("completed", "denied", "failed", "timed_out"))
    arrived += exact["in_system"]
    for name in ("failed", "timed_out"):
        assert in_ticks[name] == pytest.approx(exact[name], abs=0.01 * arrived), name
    ended = sum(in_ticks[name] for name in ("completed", "denied", "failed", "timed_out"))
    assert ended + in_ticks["in_system"] == arrived
    assert (exact["timed_out"] > 0) == (rate_per_s > 1.0)
    assert (exact["failed"] > 0) == (rate_per_s == 4.0)
    assert (exact["denied"] > 0) == (DENY in actions)


def test_one_request_by_hand():
    pool = Pool(1, [[1.0]], [[3.6e6]], [[0.25]], max_waiting=1, timeout_s=0.5)
    nothing = [None] * (TICKS_PER_S - 1)
    assert pool.step(0, 100.0, [0, *nothing]) == 0.0
    assert (pool.busy, pool.waiting) == (1, 0)
    capped = min(3.6e6 * 100.0 / 3.6e9 / 2e-4, 1.0)
    assert pool.step(0, 100.0, nothing) == pytest.approx(0.5 + 2.0 * 0.25 - capped)
    assert (pool.completed, pool.cost_usd) == (1, pytest.approx(0.1))
