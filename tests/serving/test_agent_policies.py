"""Whose request it is, what the guard does about it, and which version of the policy plays."""

import time

import pytest
from agent_client import agent
from policies_to_serve import publish

from marlserve.serving.agent.service import OVERDUE_S
from marlserve.serving.decisions.decision import Settings
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.experience.events import DECISION, kinds_of

ALL = Mode("policy", 1.0)


@pytest.fixture
def client(tmp_path):
    publish(tmp_path)
    with agent(tmp_path, mode=ALL) as made:
        yield made


@pytest.mark.parametrize("mode", ["heuristic", "shadow", "canary", "ab", "policy"])
def test_modes(mode, tmp_path):
    publish(tmp_path)
    with agent(tmp_path, mode=Mode(mode)) as client:
        said = [client.select(session=str(i)).body for i in range(40)]
        shares = {"heuristic": 0, "shadow": 0, "canary": 4, "ab": 20, "policy": 38}
        by_policy = sum(each["reason"] == "policy" for each in said)
        assert abs(by_policy - shares[mode]) <= (8 if shares[mode] else 0)
        client.until(lambda: client.service.log.num_waiting == 0)
        body = kinds_of(client.service.log.path, said[0]["decision_id"])[DECISION]
        assert (body["policy_action"] == 2) == (mode == "shadow" or body["reason"] == "policy")
        assert client.get("/stats").body["mode"] == mode


def test_the_guard_takes_the_policys_requests_away(client):
    client.service.decider.settings = Settings(Mode("ab"))
    for i in range(400):
        said = client.select(session=str(i)).body
        if said["reason"] == "guard":
            break
        failed = {"success": said["reason"] != "policy", "decision_id": said["decision_id"]}
        outcome = {"latency_ms": 100, "replica_loads": [1, 1, 1]} | failed
        client.post("/record_experience", outcome)
    assert client.get("/stats").body["guard"] == "tripped"
    assert {client.select(session=str(i)).body["version"] for i in range(20)} == {""}
    text = client.get("/metrics").body
    assert 'rl_agent_guard{state="tripped"} 1.0' in text
    assert "rl_agent_guard_alarms_total 1.0" in text


def test_a_replica_that_swallows_requests_is_a_failure(client):
    """Only the heuristic's requests ever end."""
    service = client.service
    service.decider.settings = Settings(Mode("ab"))
    for i in range(200):
        said = client.select(session=str(i)).body
        if said["reason"] == "control":
            ended = {"decision_id": said["decision_id"], "latency_ms": 100, "success": True}
            client.post("/record_experience", ended | {"replica_loads": [1, 1, 1]})
    assert service.guard.state == "trusted"
    assert service.give_up(time.monotonic()) == 0
    assert service.give_up(time.monotonic() + OVERDUE_S + 1.0) > 50
    assert len(service.outcomes) == 0
    # They all count at once against what ended before: one pair. The next ones are as bad.
    for i in range(200):
        said = client.select(session=str(i)).body
        if said["reason"] == "control":
            ended = {"decision_id": said["decision_id"], "latency_ms": 100, "success": True}
            client.post("/record_experience", ended | {"replica_loads": [1, 1, 1]})
        service.give_up(time.monotonic() + OVERDUE_S + 1.0)
    assert service.guard.state == "tripped"


def test_another_version_is_played_from_the_next_decision_on(client, tmp_path):
    assert client.select().body["version"] == "1"
    publish(tmp_path, (9.0, 0.0, 0.0))
    client.until(lambda: client.select().body["version"] == "2")
    assert client.select().body["replica_idx"] in (0, 1, 2)
    assert client.post("/rollback?version=1").body == {
        "versions": ["1", "2"],
        "served": "1",
        "pinned": True,
    }
    assert client.select().body["version"] == "1"
    publish(tmp_path, (9.0, 0.0, 0.0))
    client.wait(0.7)
    assert client.select().body["version"] == "1"
    assert client.post("/release").body["served"] == "3"
    assert client.select().body["version"] == "3"
    assert client.post("/rollback?version=77").status == 409
    assert client.post("/rollback?version=..").status == 422


def test_exploration_is_bounded_and_can_be_off(tmp_path):
    publish(tmp_path)
    with agent(tmp_path, mode=ALL, exploration=True, most_epsilon=0.3) as client:
        said = [client.select().body for _ in range(60)]
        assert {(round(x["confidence"], 6), x["exploration"]) for x in said} == {
            (0.8, False),
            (0.1, True),
        }
    publish(tmp_path, epsilon=0.06)
    with agent(
        tmp_path, mode=ALL, exploration=True, most_epsilon=0.3
    ) as client:  # as whoever trained it says
        assert client.select().body["confidence"] in (pytest.approx(0.96), pytest.approx(0.02))
    with agent(tmp_path, mode=ALL) as client:
        said = [client.select().body for _ in range(60)]
        assert {(each["confidence"], each["exploration"]) for each in said} == {(1.0, False)}
