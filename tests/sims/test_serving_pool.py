"""The serving pool by hand: the order of events, the queue, energy and money, and bad arguments."""

import pickle

import numpy as np
import pytest
from pool_cases import Case, padded

from marlserve.envs.sims.serving_pool import DENY, J_PER_MWH, OUTCOMES, ServingPool

COMPLETED, DENIED, FAILED, TIMED_OUT = OUTCOMES.values()


# Order -------------------------------------------------------------------------------------------


def test_first_come_first_served_under_the_configuration_of_the_arrival():
    case = Case()
    step = case.step(0.0, 1.0, 2.0)
    assert (step["arrived"], step["completed"], step["waits"]) == (3, 2, 3)
    assert (step["busy_s"], step["queue_s"], step["wait_s"]) == (10.0, 3.0 + 6.0, 9.0)
    case.step(10.5, action=1)
    case.step(duration_s=11.0, action=0)
    assert len(case.pool.in_system(0)) == 0
    assert case.records == [
        (0.0, 0.0, 4.0, 0, COMPLETED),
        (1.0, 4.0, 8.0, 0, COMPLETED),
        (2.0, 8.0, 12.0, 0, COMPLETED),
        (10.5, 12.0, 20.0, 1, COMPLETED),
    ]


def test_who_is_first_of_those_at_the_same_instant():
    """At 4 s, the first is done, the second, whose time is over, begins, the third gives up, and so
    the fourth, which arrives, finds room."""
    case = Case(max_waiting=2, timeout_s=4.0)
    case.step(0.0, 0.0, 0.0, 4.0)
    assert case.records == [
        (0.0, 0.0, 4.0, 0, COMPLETED),
        (0.0, None, 4.0, 0, TIMED_OUT),
        (0.0, 4.0, 8.0, 0, COMPLETED),
    ]
    assert case.pool.in_system(0)["start_s"].tolist() == [8.0], "at its deadline, too"
    case = Case(max_waiting=0)
    case.step(0.0, 3.5, 4.0)
    assert [outcome for *_, outcome in case.records] == [FAILED, COMPLETED, COMPLETED]


def test_two_servers_that_become_free_at_once_take_the_two_that_wait_longest():
    case = Case(num_servers=2)
    case.step(0.0, 0.0, 1.0, 2.0, 3.0)
    assert [(arrival_s, start_s) for arrival_s, start_s, *_ in case.records] == [
        (0.0, 0.0),
        (0.0, 0.0),
        (1.0, 4.0),
        (2.0, 4.0),
    ]


def test_time_outs_in_a_crowd():
    """A request comes each second, is served in 4 s and waits up to 5 s: the server takes the
    oldest at 4, 8, 12, ... s, which from 8 s on is one whose time is just over."""
    case = Case(timeout_s=5.0)
    for k in range(3):
        case.step(*(10.0 * k + np.arange(10)))
    done = [(arrival, start) for arrival, start, _, _, out in case.records if out == COMPLETED]
    assert done == [(0, 0), (1, 4), (3, 8), (7, 12), (11, 16), (15, 20), (19, 24)]
    late = [(arrival, end) for arrival, _, end, _, out in case.records if out == TIMED_OUT]
    assert late == [(t, t + 5) for t in range(25) if t not in {0, 1, 3, 7, 11, 15, 19, 23}]
    total = case.pool.total[0]
    assert total["wait_s"] == 5 * len(late) + 3 + 6 * 5, "23 begins at 28"
    assert total["waits"] == len(late) + 8


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_full_queue_fails(most):
    case = Case(max_waiting=most)
    for k in range(5):  # more than once around the ring
        step = case.step(*(20.0 * k + np.array([0.0, 0.25, 0.5, 0.75])), duration_s=20.0)
        assert (step["failed"], step["completed"]) == (3 - most, 1 + most)
    assert len(case.pool.in_system(0)) == 0


def test_denied_requests_leave_and_those_that_wait_stay():
    case = Case()
    case.step(0.0, 0.0, 0.0)
    step = case.step(11.0, 12.0, action=DENY)
    assert (step["arrived"], step["denied"], step["completed"]) == (2, 2, 1)
    assert case.records[2:] == [
        (11.0, None, 11.0, DENY, DENIED),
        (0.0, 8.0, 12.0, 0, COMPLETED),
        (12.0, None, 12.0, DENY, DENIED),
    ]


def test_what_happens_as_a_step_ends_belongs_to_the_next():
    case = Case((10.0,))
    assert case.step(0.0)["completed"] == 0
    step = case.step(10.0)
    assert (step["completed"], step["waits"], step["wait_s"]) == (1, 1, 0.0)
    assert case.pool.copies["clock_s"] == 20.0


# Flows and states --------------------------------------------------------------------------------


def test_energy_and_money():
    """Two servers, of which a free one draws 10 W, under a PUE of 1.5."""
    case, usd_per_j = Case(num_servers=2, idle_w=10.0, pue=1.5, cost_cap_usd=1e-5), 1.5 / J_PER_MWH
    first = case.step(8.0, price=100.0)
    assert (first["request_j"], first["idle_j"]) == (200.0, 180.0)
    assert case.pool.copies["power_w"] == 100.0
    second = case.step(price=-50.0)
    assert (second["request_j"], second["idle_j"]) == (200.0, 180.0)
    assert first["cost_usd"] == pytest.approx(380.0 * 100.0 * usd_per_j, rel=1e-12)
    assert second["cost_usd"] == pytest.approx(380.0 * -50.0 * usd_per_j, rel=1e-12)
    record = case.pool.records(0)[0]
    assert record["cost_usd"] == pytest.approx(200.0 * (100.0 - 50.0) * usd_per_j, rel=1e-12)
    assert (record["energy_j"], record["score"]) == (400.0, 4.0)
    assert second["capped_cost"] == 1.0, "400 J at $100/MWh cost more than the cap"
    third = case.step(20.0, price=-50.0)
    expected = 400.0 * -50.0 * usd_per_j / 1e-5
    assert third["capped_cost"] == pytest.approx(expected, rel=1e-12)


def test_what_is_recent_fades():
    """By half in a minute, from the step after on."""
    case = Case((4.0, 40.0), num_servers=5, timeout_s=8.0)
    case.step(0.0)
    counts = case.pool.recent_latencies[0].copy()
    assert counts.sum() == 1.0
    width_s = (8.0 + 80.0) / len(counts)
    assert counts[int(4.0 / width_s)] == 1.0
    case.step(duration_s=60.0)
    np.testing.assert_allclose(case.pool.recent_latencies[0], counts / 2.0)
    state = case.pool.copies[0]
    assert state["recent_done"] == state["recent_waits"] == pytest.approx(0.5)
    assert state["recent_score"] == pytest.approx(2.0)
    assert state["recent_wait_s"] == 0.0


def test_percentiles_of_waits_that_are_mostly_none():
    case = Case((1.0,), timeout_s=10.0)
    assert case.pool.wait_percentile(50) == case.pool.latency_percentile(99) == 0.0
    case.step(*np.arange(10.0), 9.5)  # the last one waits 0.5 s
    case.step()
    for percent in (0, 50, 90):
        assert case.pool.wait_percentile(percent) == 0.0
    assert case.pool.wait_percentile(100) == pytest.approx(0.5, abs=0.01)
    assert case.pool.latency_percentile(100) == pytest.approx(1.5, abs=0.01)


def test_copies_begin_anew_and_pools_travel():
    rng = np.random.default_rng(0)
    service_s = rng.uniform(1.0, 9.0, (2, 30))
    rules = {"max_waiting": 3, "timeout_s": 2.0, "record": True}
    pool = ServingPool(2, 2, service_s, service_s, service_s, **rules)

    def step(pool, k):
        rng = np.random.default_rng(k)
        clock_s = pool.copies["clock_s"]
        due = [(t + np.sort(rng.uniform(0, 10, 8)), rng.integers(30, size=8)) for t in clock_s]
        pool.advance(10.0, rng.integers(2, size=2), rng.uniform(0, 90, 2), padded(due))
        return [pool.records(b).tobytes() for b in (0, 1)], pool.step.copy(), pool.total.copy()

    first = step(pool, 0)
    step(pool, 1)
    twin = pickle.loads(pickle.dumps(pool))
    for shown, expected in zip(step(twin, 2), step(pool, 2), strict=True):
        np.testing.assert_array_equal(shown, expected)
    before = pool.total.copy()
    pool.reset(np.array([0]))
    assert len(pool.records(0)) == 0
    assert pool.wait_percentile(100)[0] == pool.recent_latencies[0].sum() == 0.0
    assert pool.total[0] == np.zeros(1, pool.total.dtype)[0]
    assert pool.total[1] == before[1]
    again = step(pool, 0)
    assert again[0][0] == first[0][0]
    np.testing.assert_array_equal([again[1][0], again[2][0]], [first[1][0], first[2][0]])


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0; it must be at least 1"),
        ({"num_servers": 0}, "num_servers is 0; it must be at least 1"),
        ({"max_waiting": -1}, "max_waiting is -1; it must be at least 0"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0; it must be positive and finite"),
        ({"timeout_s": np.inf}, "timeout_s is inf; it must be positive and finite"),
        ({"idle_w": -1.0}, "idle_w is -1.0; it must be at least 0"),
        ({"pue": 0.9}, "pue is 0.9; it must be at least 1"),
        ({"pue": np.nan}, "pue is nan; it must be at least 1"),
        ({"cost_cap_usd": 0.0}, "cost_cap_usd is 0.0; it must be positive"),
        ({"recent_s": 0.0}, "recent_s is 0.0; it must be positive"),
        ({"service_s": np.zeros((1, 2))}, "service_s has 0.0; it must be finite, 1e-09 or more"),
        ({"energy_j": np.full((1, 2), -3.0)}, "energy_j has -3.0; it must be finite, 0.0 or more"),
        ({"score": np.full((1, 2), np.nan)}, "score has nan; it must be finite"),
        (
            {"score": np.ones((2, 2))},
            r"shapes \[\(1, 2\), \(1, 2\), \(2, 2\)\]; they must be equal",
        ),
        ({name: np.ones(2) for name in ("service_s", "energy_j", "score")}, "they must be equal"),
    ],
)
def test_bad_arguments(changes, message):
    good = {name: np.ones((1, 2)) for name in ("service_s", "energy_j", "score")}
    good |= {"num_envs": 1, "num_servers": 1, "max_waiting": 1, "timeout_s": 1.0}
    with pytest.raises(ValueError, match=message):
        ServingPool(**good | changes)


@pytest.mark.parametrize("action", [-2, 2])
def test_actions_that_are_none(action):
    with pytest.raises(ValueError, match=rf"actions are \[{action}\]; allowed are 0 to 1 and -1"):
        Case().step(action=action)


@pytest.mark.parametrize("times", [(9.5, 11.0), (11.0, 20.0), (12.0, 11.0)])
def test_arrivals_outside_the_step(times):
    case = Case()
    case.step(1.0)
    before = case.pool.total.copy()
    first, last = times
    with pytest.raises(
        ValueError, match=rf"copy 0 are at {first} to {last} s; the step is \[10.0, 20"
    ):
        case.step(*times)
    np.testing.assert_array_equal(case.pool.total, before)
    assert case.step(19.75)["arrived"] == 1
