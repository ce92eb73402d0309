"""Whatever is sent, nothing is answered with a 500, and what is answered keeps its bounds."""

import json

import pytest
from agent_client import EXPERIENCE, README, agent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policies_to_serve import publish

from marlserve.serving.decisions.modes import Mode

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=8), x, max_size=4)
)
BATCHES = {"requests": [README], "experiences": [EXPERIENCE]}
ROUTES = {
    "/select_replica": README,
    "/select_replica/batch": {"requests": [README]},
    "/record_experience": EXPERIENCE,
    "/record_experience/batch": {"experiences": [EXPERIENCE]},
}
KNOWN = sorted({*README, *EXPERIENCE, "session", "unavailable", "deadline_ms", "decision_id"})
AMOUNT = st.floats(0.0, 1e9)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    publish(folder)
    with agent(folder, mode=Mode("policy", 1.0)) as made:
        yield made


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(sorted(ROUTES)), key=st.sampled_from(KNOWN), value=JSON, bare=JSON)
def test_no_body_breaks_it(client, path, key, value, bare):
    example = ROUTES[path]
    inner = next((x[0] for x in example.values() if isinstance(x, list) and path[-1] == "h"), None)
    changed = {key: value} | {k: v for k, v in (inner or example).items() if k != key}
    changed = {next(iter(example)): [changed]} if inner else changed
    for body in (changed, bare):
        answer = client.post(path, json.dumps(body).encode())
        assert answer.status in (200, 404, 422), answer


@settings(max_examples=100)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]),
    path=st.sampled_from(
        ["/train", "/reset_epsilon", "/rollback", "/release", "/save_model", "/stats", "/policies"]
    ),
    name=st.sampled_from(["batch_size", "iterations", "epsilon", "version", "x"]),
    value=st.text(st.characters(codec="ascii", exclude_characters="&#=?"), max_size=12),
)
def test_no_query_breaks_it(client, method, path, name, value):
    answer = client.ask(method, f"{path}?{name}={value}", b"", {})
    assert answer.status in (200, 404, 405, 409, 422, 503), answer


@settings(max_examples=100)
@given(
    loads=st.lists(AMOUNT, min_size=1, max_size=5),
    queue=AMOUNT,
    latency_ms=AMOUNT,
    rps=AMOUNT,
    success=st.floats(0.0, 1.0),
    data=st.data(),
)
def test_every_sound_request_is_decided_on(client, loads, queue, latency_ms, rps, success, data):
    indices = st.lists(st.integers(0, len(loads) - 1), max_size=3)
    unavailable = data.draw(indices)
    status, said = client.post(
        "/select_replica",
        {
            "replica_loads": loads,
            "queue_depth": queue,
            "recent_latency_ms": latency_ms,
            "current_rps": rps,
            "success_rate": success,
            "unavailable": unavailable,
        },
    )
    assert status == 200
    assert 0 <= said["replica_idx"] < len(loads)
    assert said["replica_idx"] not in unavailable or len({*unavailable}) == len(loads)
    assert 0.0 < said["confidence"] <= 1.0
    assert said["reason"] == ("policy" if len(loads) == 3 else "replica_count")
    experience = {
        "state": said["state"],
        "action": said["replica_idx"],
        "latency_ms": latency_ms,
        "success": True,
        "replica_loads": loads,
    }
    assert client.post("/record_experience", experience).body["status"] == "recorded"
