"""The serving pool against the same pool in plain Python, request by request, and its sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from pool_cases import SERVERS, Scenario, scenarios
from reference_pool_events import Request

from marlserve.envs.sims.serving_pool import J_PER_MWH, OUTCOMES, ServingPool

COMPLETED = OUTCOMES["completed"]
FIELDS = ["arrival_s", "end_s", "config", "outcome", "start_s", "energy_j", "score"]
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@settings(max_examples=150)
@given(scenarios())
def test_records_equal_those_of_plain_python_and_add_up(scenario):
    pool, records = scenario.play(list(range(len(scenario.arrivals))))
    for b, found in enumerate(records):
        requests = scenario.reference(b)
        assert_records(scenario, b, found, requests)
        assert_counts(pool, b, found, requests)
        assert_energy(scenario, pool, b, found, requests)
        assert_waits(scenario, pool, b, found)


@settings(max_examples=25)
@given(scenarios())
def test_copies_do_not_depend_on_each_other(scenario):
    copies = list(range(len(scenario.arrivals)))
    pool, records = scenario.play(copies)
    for group in [copies[::-1], *([b] for b in copies)]:
        other, others = scenario.play(group)
        for place, b in enumerate(group):
            assert others[place].tobytes() == records[b].tobytes()
            assert other.in_system(place).tobytes() == pool.in_system(b).tobytes()
            for name in ("total", "step", "copies", "recent_latencies"):
                assert getattr(other, name)[place].tobytes() == getattr(pool, name)[b].tobytes()
            for percent in (50, 99):
                assert other.wait_percentile(percent)[place] == pool.wait_percentile(percent)[b]


def assert_records(scenario: Scenario, b: int, records: np.ndarray, requests: list[Request]):
    """All fields are equal, but for rounding in the cost."""
    expected = []
    for request in requests:
        measured = (-1.0, 0.0, 0.0)
        if request.outcome == COMPLETED:
            asked = request.config, request.prompt
            measured = request.start_s, scenario.energy_j[asked], scenario.score[asked]
        if request.outcome is not None:
            known = (request.arrival_s, request.end_s, request.config, request.outcome, *measured)
            cost_usd = scenario.cost_usd(b, request) if request.outcome == COMPLETED else 0.0
            expected.append((known, cost_usd))
    found = records.copy()
    found["start_s"][np.isnan(found["start_s"])] = -1.0
    found = sorted(zip(found[FIELDS].tolist(), found["cost_usd"], strict=True))
    expected.sort()
    assert [known for known, _ in found] == [known for known, _ in expected]
    np.testing.assert_allclose([usd for _, usd in found], [usd for _, usd in expected], **CLOSE)
    assert (np.diff(records["end_s"]) >= 0.0).all(), "in the order in which they ended"


def assert_counts(pool: ServingPool, b: int, records: np.ndarray, requests: list[Request]):
    """No request is lost, and those in the system are those of plain Python."""
    total, state, inside = pool.total[b], pool.copies[b], pool.in_system(b)
    for name, number in OUTCOMES.items():
        assert total[name] == (records["outcome"] == number).sum()
    assert total["arrived"] == sum(total[name] for name in OUTCOMES) + len(inside)
    assert total["arrived"] == len(requests)
    there = [request for request in requests if request.outcome is None]
    starts = sorted(request.start_s for request in there if request.start_s is not None)
    assert sorted(inside["start_s"][: state["busy"]].tolist()) == starts
    waiting = [request.arrival_s for request in there if request.start_s is None]
    assert inside["arrival_s"][state["busy"] :].tolist() == waiting
    assert len(waiting) == state["waiting"]


def assert_energy(
    scenario: Scenario, pool: ServingPool, b: int, records: np.ndarray, requests: list[Request]
):
    """Joules and dollars are those of completed requests, of what the running ones have drawn, and
    of servers without one."""
    total, state = pool.total[b], pool.copies[b]
    done, running = records[records["outcome"] == COMPLETED], pool.in_system(b)[: state["busy"]]
    power_w = running["energy_j"] / running["service_s"]
    drawn_j = power_w * (scenario.end_s - running["start_s"])
    np.testing.assert_allclose(total["request_j"], done["energy_j"].sum() + drawn_j.sum(), **CLOSE)
    np.testing.assert_allclose(state["power_w"], power_w.sum(), **CLOSE)
    served_s = np.sum([scenario.served_s(request) for request in requests], axis=0)
    idle_s = SERVERS * scenario.step_s - served_s + np.zeros(len(scenario.actions))
    np.testing.assert_allclose(total["busy_s"], np.sum(served_s), **CLOSE)
    np.testing.assert_allclose(total["idle_j"], scenario.rules["idle_w"] * idle_s.sum(), **CLOSE)
    usd_per_j = scenario.rules["pue"] / J_PER_MWH
    prices = scenario.prices[:, b]
    running_usd = sum(scenario.cost_usd(b, r) for r in requests if r.outcome is None)
    idle_usd = scenario.rules["idle_w"] * (idle_s @ prices) * usd_per_j
    cost_usd = done["cost_usd"].sum() + running_usd + idle_usd
    np.testing.assert_allclose(total["cost_usd"], cost_usd, **CLOSE)
    at_arrival = prices[(done["arrival_s"] // scenario.step_s).astype(int)]
    capped = np.minimum(
        done["energy_j"] * at_arrival * usd_per_j / scenario.rules["cost_cap_usd"], 1.0
    )
    np.testing.assert_allclose(total["capped_cost"], capped.sum(), **CLOSE)
    np.testing.assert_allclose(total["score"], done["score"].sum(), **CLOSE)


def assert_waits(scenario: Scenario, pool: ServingPool, b: int, records: np.ndarray):
    """Sums and percentiles of waits and latencies; a percentile is that of the records to the width
    of a bin, and 0 exactly where it is."""
    total, state, inside = pool.total[b], pool.copies[b], pool.in_system(b)
    running, waiting = inside[: state["busy"]], inside[state["busy"] :]
    done = records[records["outcome"] == COMPLETED]
    late = records[records["outcome"] == OUTCOMES["timed_out"]]
    wait_s = np.concatenate(
        [
            done["start_s"] - done["arrival_s"],
            late["end_s"] - late["arrival_s"],
            running["start_s"] - running["arrival_s"],
        ]
    )
    latency_s = done["end_s"] - done["arrival_s"]
    assert total["waits"] == len(wait_s)
    queue_s = wait_s.sum() + (scenario.end_s - waiting["arrival_s"]).sum()
    for name, seconds in (("wait_s", wait_s.sum()), ("latency_s", latency_s.sum())):
        np.testing.assert_allclose(total[name], seconds, **CLOSE)
    np.testing.assert_allclose(total["queue_s"], queue_s, **CLOSE)
    timeout_s = scenario.rules["timeout_s"]
    longest_s = timeout_s + scenario.service_s.max()
    for percentile, values, width_s in (
        (pool.wait_percentile, wait_s, timeout_s / 1000),
        (pool.latency_percentile, latency_s, longest_s / 960),
    ):
        for percent in (0, 25, 50, 75, 95, 100):
            found = percentile(percent)[b]
            exact = 0.0
            if len(values):
                exact = np.percentile(values, percent, method="inverted_cdf")
            if percent == 0:
                assert found <= exact + 1e-9
            else:
                assert found == pytest.approx(exact, abs=width_s * (1 + 1e-9))
            assert exact > 0.0 or found == 0.0
