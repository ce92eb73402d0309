"""What goes wrong has an answer: the rows of docs/serving.md's table, each by its name."""

import json
import shutil

import pytest
import redis_server
from agent_client import EXPERIENCE, README, agent, free_port
from policies_to_serve import publish
from prometheus_answers import answering, babbling, silent
from serving_cases import policy_file

from marlserve.serving.agent.app import MOST_BYTES
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.experience.events import joined
from marlserve.serving.experience.stream import client as redis_client
from marlserve.serving.policy_store import PolicyStore

ALL = Mode("policy", 1.0)


def answers_as_ever(client) -> None:
    """Everything that the traffic needs."""
    assert client.select().status == 200
    asked = client.post("/select_replica")
    assert (asked.status, asked.body["state"]) == (200, [])
    assert client.record().body["status"] == "recorded"
    for path in ("/stats", "/health", "/ready", "/metrics", "/policies"):
        assert client.get(path).status == 200


def logged(client) -> list:
    client.until(lambda: client.service.log.num_waiting == 0)
    return list(joined(client.service.log.path))


def test_redis_is_down(tmp_path):
    with agent(tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}/0") as client:
        answers_as_ever(client)
        assert client.get("/ready").body["redis"] is False
        assert len(logged(client)) == 1  # it is kept


def test_redis_hangs(tmp_path):
    with silent() as port, agent(tmp_path, redis_url=f"redis://127.0.0.1:{port}/0") as client:
        answers_as_ever(client)
        assert len(logged(client)) == 1


def test_redis_comes_back(tmp_path):
    port = free_port()
    with agent(tmp_path, redis_url=f"redis://127.0.0.1:{port}/0") as client:
        client.record()
        client.until(lambda: client.service.inputs.gaps["loads"] > 0)
        with redis_server.running(port) as server:
            connection = redis_client(server.connection_url)
            for i, load in enumerate((5, 3, 7)):
                connection.set(f"llm_load_{i}", load)
            client.until(lambda: client.service.delivery.delivered == 2)
            client.until(lambda: client.service.inputs.loads() == [5.0, 3.0, 7.0])
            assert client.post("/select_replica").body["replica_idx"] == 1  # the rest is unknown
            assert client.post("/select_replica").body["state"] == []
            connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["down", "hangs", "babbles"])
def test_prometheus_is_away(how, tmp_path):
    with silent() as quiet, babbling() as loud:
        port = {"down": free_port(), "hangs": quiet, "babbles": loud}[how]
        url = f"http://127.0.0.1:{port}"
        publish(tmp_path)
        with agent(tmp_path, prometheus_url=url, mode=ALL) as client:
            answers_as_ever(client)
            assert client.select().body["reason"] == "policy"
            assert client.post("/select_replica").body["reason"] == "no_input"
            gaps = client.service.inputs.gaps
            client.until(lambda: gaps["success_rate"] > 1)  # it asks again


@pytest.mark.parametrize("values", [["NaN"], ["+Inf"], ["-1"], ["many"], []])
def test_prometheus_has_no_number(values, tmp_path):
    """As over a minute without requests; none gets into a state, the log or a policy."""
    publish(tmp_path)
    with answering("0.5") as (url, given), redis_server.running() as server:
        settings = {"prometheus_url": url, "redis_url": server.connection_url, "mode": ALL}
        with agent(tmp_path, **settings) as client:
            inputs = client.service.inputs
            client.until(lambda: inputs.rest() is not None)
            assert client.post("/select_replica").body["reason"] == "policy"
            given[:] = values
            client.until(lambda: inputs.gaps["success_rate"] > 0)
            said = client.post("/select_replica").body  # what was known a moment ago
            assert (said["reason"], said["state"][4:7]) == ("policy", [0.5, 0.5, 0.5])
            late_s = inputs._clock() + 11.0
            inputs._clock = lambda: late_s  # nobody measures meanwhile
            said = client.post("/select_replica").body
            assert (said["reason"], said["state"]) == ("no_input", [])
            logged(client)


def test_a_number_that_is_none_is_refused(tmp_path):
    with agent(tmp_path) as client:
        for bad in (b"NaN", b"Infinity", b"-1", b'"7"', b"1e400", b"null", b"true"):
            body = json.dumps(README).encode().replace(b"280.5", bad)
            assert client.post("/select_replica", body).status == 422
            body = json.dumps(EXPERIENCE).encode().replace(b"265.3", bad)
            assert client.post("/record_experience", body).status == 422
        assert client.select(replica_loads=[]).status == 422
        assert client.select(replica_loads=[1, -2]).status == 422
        assert client.select(success_rate=1.1).status == 422
        assert client.select(replica_load=[1]).status == 422
        assert logged(client) == []


def test_a_state_has_the_wrong_length(tmp_path):
    with agent(tmp_path) as client:
        answer = client.record(state=EXPERIENCE["state"][:9])
        assert (answer.status, answer.body["detail"]) == (
            422,
            "state has 9 numbers; one of 3 replicas has 10",
        )
        assert logged(client) == []


@pytest.mark.parametrize("action", [3, -1, 1.5, 10**9])
def test_an_action_is_out_of_range(action, tmp_path):
    with agent(tmp_path) as client:
        assert client.record(action=action).status == 422
        assert logged(client) == []


@pytest.mark.parametrize(
    "query", ["batch_size=0", "batch_size=-64", "batch_size=1000000", "iterations=1000000000"]
)
def test_training_is_asked_for_too_much(query, tmp_path):
    with agent(tmp_path) as client:
        assert client.post(f"/train?{query}").status == 422


@pytest.mark.parametrize("epsilon", ["7", "-0.1", "nan", "inf", "much"])
def test_epsilon_is_no_share(epsilon, tmp_path):
    with agent(tmp_path) as client:
        assert client.post(f"/reset_epsilon?epsilon={epsilon}").status == 422


def test_there_is_no_trainer(tmp_path):
    with agent(tmp_path) as client:
        for path in ("/train", "/save_model", "/reset_epsilon"):
            answer = client.post(path)
            assert answer.status == 503
            assert "not running" in answer.body["detail"]
        answers_as_ever(client)


@pytest.mark.parametrize("how", ["cut", "of other replicas", "pointer", "no policy of ours"])
def test_the_policy_cannot_be_used(how, tmp_path):
    publish(tmp_path)
    with agent(tmp_path, mode=ALL) as client:
        assert client.select().body["version"] == "1"
        break_policy(how, tmp_path)
        client.until(lambda: client.service.policies.refused == 1)
        assert client.select().body["version"] == "1"  # the one before goes on
        assert client.get("/ready").body["refused"] != ""
    with agent(tmp_path, mode=ALL) as client:  # and there is no crash loop
        said = client.select().body
        assert (said["reason"], said["replica_idx"]) == ("no_policy", 1)
        assert client.get("/ready").status == 200
    if how == "pointer":
        (tmp_path / "current.json").unlink()
    publish(tmp_path)
    with agent(tmp_path, mode=ALL) as client:
        assert client.select().body["reason"] == "policy"


def break_policy(how: str, folder) -> None:
    if how == "cut":
        publish(folder)
        weights = folder / "versions" / "2" / "policy.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4])
    elif how == "of other replicas":
        publish(folder, (0.0, 1.0, 2.0, 3.0), num_replicas=4)
    elif how == "pointer":
        (folder / "current.json").write_text("{")
    else:
        PolicyStore(folder).publish(policy_file([0.0, 1.0, 2.0]))


def test_the_folder_of_models_is_missing(tmp_path):
    with agent(tmp_path / "not" / "there") as client:  # it is made
        answers_as_ever(client)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be a store"):
        agent(tmp_path / "file" / "models").__enter__()


def test_the_folder_of_models_vanishes(tmp_path):
    publish(tmp_path / "models")
    with agent(tmp_path / "models", mode=ALL) as client:
        client.select()
        shutil.rmtree(tmp_path / "models")
        client.wait(0.6)
        assert client.select().body["version"] == "1"
        answers_as_ever(client)
        assert client.post("/rollback?version=1").status == 409
        (found,) = logged(client)
        assert found.decision["reason"] == "caller"


def test_several_services_share_a_folder(tmp_path):
    """They play the same version, and log side by side; each outcome goes to its decision."""
    publish(tmp_path)
    with agent(tmp_path, mode=ALL) as one, agent(tmp_path, mode=ALL) as other:
        identities = [client.select().body["decision_id"] for client in (one, other) * 20]
        assert len({*identities}) == 40
        one.until(lambda: one.service.log.num_waiting == 0)
        other.until(lambda: other.service.log.num_waiting == 0)
        outcome = {"latency_ms": 100, "success": True, "replica_loads": [1, 1, 1]}
        for i, identity in enumerate(identities):  # and it may come to the other one
            client = (one, other)[(i // 2) % 2]
            answer = client.post("/record_experience", outcome | {"decision_id": identity})
            assert answer.body["status"] == "recorded"
        one.until(lambda: one.service.log.num_waiting == 0)
        assert {x.id for x in logged(other)} == {*identities}
        publish(tmp_path)
        for client in (one, other):
            client.until(lambda made=client: made.select().body["version"] == "2")


def test_a_body_is_too_long_or_none(tmp_path):
    with agent(tmp_path) as client:
        for path in ("/select_replica", "/record_experience", "/select_replica/batch"):
            assert client.post(path, b" " * (MOST_BYTES + 1)).status == 413
            assert client.post(path, b"{").status == 422
            assert client.post(path, b"\xff\xfe").status == 422
        assert client.post("/nothing").status == 404
        assert client.get("/select_replica").status == 405


def test_who_has_no_token_is_turned_away(tmp_path):
    with agent(tmp_path, token="secret") as client:
        for path in ("/select_replica", "/record_experience", "/train", "/rollback?version=1"):
            assert client.post(path, README).status == 401
            assert client.post(path, README, authorization="Bearer wrong").status == 401
        for path in ("/stats", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status == 401
        assert client.get("/health").status == client.get("/ready").status == 200
        answer = client.post("/select_replica", README, authorization="Bearer secret")
        assert answer.status == 200
        assert "secret" not in repr(client.service.settings)
