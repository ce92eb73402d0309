"""The agent service speaks as it always did, and each route does what it says."""

import json

import pytest
from agent_client import EXPERIENCE, README, agent
from policies_to_serve import publish
from replica_traffic import events

from marlserve.serving.agent import speed
from marlserve.serving.agent.server import run
from marlserve.serving.agent.settings import AgentSettings, from_environment
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.decisions.player import Player
from marlserve.serving.experience.events import DECISION, joined
from marlserve.serving.replica_state import encoded, plain

ALL = Mode("policy", 1.0)


@pytest.fixture
def client(tmp_path):
    publish(tmp_path)
    with agent(tmp_path, mode=ALL) as made:
        yield made


def test_the_example_of_select_replica(client):
    status, said = client.select()
    assert status == 200
    assert (said["replica_idx"], said["replica_name"]) == (2, "replica-3")
    assert (said["confidence"], said["exploration"]) == (1.0, False)
    assert (said["reason"], said["version"]) == ("policy", "1")
    assert said["state"][:9] == [5, 3, 7, 12, 0.2805, 8.2, 0.98, 0.5, 0.4]
    assert 0.0 <= said["state"][9] < 1.0


def test_two_loads_where_there_are_two_replicas(tmp_path):
    publish(tmp_path, (0.0, 1.0), num_replicas=2)
    with agent(tmp_path, num_replicas=2, mode=ALL) as client:
        status, said = client.select(replica_loads=[0, 9])
        assert (status, said["reason"], said["replica_idx"]) == (200, "policy", 1)
        assert len(said["state"]) == 10
        other = client.select()  # three loads: the example
        assert (other.status, other.body["reason"]) == (200, "replica_count")
        assert other.body["replica_idx"] == 1


def test_the_example_of_record_experience(client):
    status, said = client.record()
    assert (status, said["status"]) == (200, "recorded")
    assert said["reward"] == pytest.approx(0.57914, abs=1e-5)
    assert client.record(success=False).body["reward"] == -10.0
    client.until(lambda: client.service.log.num_waiting == 0)
    first, _ = joined(client.service.log.path)
    assert first.decision["state"] == EXPERIENCE["state"]
    assert (first.decision["action"], first.decision["propensity"]) == (1, None)
    assert first.outcome["latency_s"] == pytest.approx(0.2653)


def test_an_outcome_joins_its_decision_once(client):
    identity = client.select(session="someone").body["decision_id"]
    outcome = {"decision_id": identity, "latency_ms": 100, "success": True, "replica_loads": [1, 1]}
    assert client.post("/record_experience", outcome).body["status"] == "recorded"
    again = client.post("/record_experience", outcome | {"latency_ms": 900})
    assert (again.status, again.body["status"]) == (200, "duplicate")
    unknown = client.post("/record_experience", outcome | {"decision_id": "none"})
    assert unknown.status == 404
    assert client.post("/record_experience", outcome | {"decision_id": "none"}).status == 404
    client.until(lambda: client.service.log.num_waiting == 0)
    (found,) = joined(client.service.log.path)
    assert (found.id, found.outcome["latency_s"]) == (identity, 0.1)
    assert found.decision["propensity"] == 1.0


def test_after_a_restart_outcomes_still_find_their_decision(tmp_path):
    with agent(tmp_path) as client:
        identity = client.select().body["decision_id"]
    outcome = {"decision_id": identity, "latency_ms": 100, "success": True, "replica_loads": [1, 1]}
    with agent(tmp_path) as client:
        assert client.post("/record_experience", outcome).body["status"] == "recorded"
        assert client.post("/record_experience", outcome).body["status"] == "duplicate"
    with agent(tmp_path) as client:
        assert client.post("/record_experience", outcome).body["status"] == "duplicate"


def test_many_at_once(client):
    asked = {"requests": [README, README | {"replica_loads": [0, 0]}]}
    status, said = client.post("/select_replica/batch", asked)
    assert status == 200
    assert [each["reason"] for each in said["decisions"]] == ["policy", "replica_count"]
    identity = said["decisions"][0]["decision_id"]
    good = {"decision_id": identity, "latency_ms": 1, "success": True, "replica_loads": [1, 1]}
    several = [good, good, good | {"decision_id": "none"}, EXPERIENCE | {"action": 7}]
    status, said = client.post("/record_experience/batch", {"experiences": several})
    statuses = [each["status"] for each in said["results"]]
    assert (status, statuses) == (200, ["recorded", "duplicate", "unknown", "refused"])
    too_many = {"requests": [README] * 257}
    assert client.post("/select_replica/batch", too_many).status == 422


def test_one_encoding_on_every_path(client, tmp_path):
    """Selecting, recording and training show a policy the same numbers."""
    given = {"memory": 0.25, "cpu": 0.75, "time_of_day": 0.5}
    said = client.select(**given).body
    expected = plain([5, 3, 7], 12, 0.2805, 8.2, 0.98, 0.25, 0.75, 0.5)
    assert said["state"] == expected
    seen = []
    player = client.service.decider.player
    ask = player.values
    player.values = lambda observation: seen.append(observation.copy()) or ask(observation)
    client.select(**given)
    client.service.inputs.loads = lambda: [5.0, 3.0, 7.0]
    rest = dict(
        zip(("queue_depth", "latency_s", "rps", "success_rate"), expected[3:7], strict=True)
    )
    client.service.inputs.rest = lambda: rest | {"memory": 0.25, "cpu": 0.75, "time_of_day": 0.5}
    assert client.post("/select_replica").body["state"] == expected
    client.record(state=said["state"])
    client.until(lambda: client.service.log.num_waiting == 0)
    (recorded,) = joined(client.service.log.path)
    assert recorded.decision["state"] == expected
    assert len(seen) == 2
    for each in seen:
        assert (each == encoded(recorded.decision["state"])).all()
        assert (each == encoded([recorded.decision["state"]])[0]).all()  # as training does


def test_masks_sessions_and_deadlines(client):
    assert client.select(unavailable=[2]).body["replica_idx"] == 1
    assert client.select(unavailable=[0, 1, 2]).body["replica_idx"] == 2
    client.select()
    assert client.select(deadline_ms=1e-6).body["reason"] == "deadline"
    assert client.select(deadline_ms=60_000).body["reason"] == "policy"
    assert client.select(unavailable=[3]).status == 422


def test_stats_metrics_health_and_schema(client):
    client.select()
    client.record()
    stats = client.get("/stats").body
    assert stats["decisions"] == stats["outcomes"] == 1
    assert (stats["epsilon"], stats["steps_done"], stats["buffer_size"]) == (1.0, 0, 0)
    assert stats["avg_recent_reward"] == pytest.approx(0.579, abs=1e-3)
    assert stats["device"] == "cpu"
    text = client.get("/metrics").body
    for line in (
        'rl_agent_decisions_total{reason="policy"} 1.0',
        'rl_agent_outcomes_total{result="success"} 1.0',
        "rl_agent_value_max 1.0",
        "rl_agent_policy_version 1.0",
        "rl_agent_log_dropped_total",
    ):
        assert line in text
    assert client.get("/health").body == {"status": "ok", "service": "rl_agent"}
    ready = client.get("/ready")
    assert (ready.status, ready.body["version"]) == (200, "1")
    paths = client.get("/openapi.json").body["paths"]
    assert {"/select_replica", "/record_experience", "/train", "/stats"} <= paths.keys()
    assert client.get("/docs").status == 200


def test_what_is_logged_is_what_training_reads(client):
    for event in events(20):
        if event.kind == DECISION:
            loads, action = event.body["state"][:3], event.body["action"]
            client.record(state=event.body["state"], action=action, replica_loads=loads)
    client.until(lambda: client.service.log.num_waiting == 0)
    found = [x for x in joined(client.service.log.path) if x.following is not None]
    assert len(found) == 19
    json.dumps([x.decision for x in found], allow_nan=False)


def test_settings_from_the_environment():
    assert from_environment({}) == AgentSettings()
    given = {
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6380",
        "PROMETHEUS_URL": "http://prometheus:9090/",
        "MODEL_PATH": "/models/x",
        "NUM_REPLICAS": "5",
        "RL_EXPLORATION": "false",
        "RL_MODE": "canary",
        "RL_SHARE": "0.2",
    }
    made = from_environment(given)
    assert (made.redis_url, made.prometheus_url) == (
        "redis://redis:6380/0",
        "http://prometheus:9090",
    )
    assert (made.num_replicas, made.exploration, made.mode) == (5, False, Mode("canary", 0.2))
    assert from_environment({"REDIS_URL": "redis://elsewhere:1"}).redis_url == "redis://elsewhere:1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NUM_REPLICAS", "two"),
        ("NUM_REPLICAS", "1"),
        ("RL_EXPLORATION", "perhaps"),
        ("RL_MODE", "both"),
        ("RL_SHARE", "2"),
        ("RL_HEURISTIC", "best"),
        ("BATCH_SIZE", "0"),
        ("RL_MAX_EPSILON", "nan"),
    ],
)
def test_a_bad_variable_is_named(name, value):
    with pytest.raises(ValueError, match="allowed is"):
        from_environment({name: value})


def test_beyond_loopback_it_takes_a_token(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_PATH", str(tmp_path))
    with pytest.raises(ValueError, match="RL_TOKEN must be set"):
        run(host="0.0.0.0")
    with pytest.raises(ValueError, match="port is 0; allowed is 1 to 65535"):
        run(port=0)


def test_the_policy_whose_speed_is_told_is_of_the_agents_size():
    network = speed.policy().networks["p"]
    sizes = [layer.shape[0] for layer in network.layers if layer.operation == "linear"]
    assert sizes == [128, 128, 128, 3]
    assert len(Player(speed.policy(), "1").values(encoded(EXPERIENCE["state"]))) == 3
