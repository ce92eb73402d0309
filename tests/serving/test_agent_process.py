"""The agent as a process: how it starts, ends, is killed, and trains beside its decisions."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from agent_client import EXPERIENCE, PATIENCE_S, README, Process
from policies_to_serve import publish
from replica_traffic import events

from marlserve.serving.experience.events import DECISION, joined, kinds_of

pytestmark = pytest.mark.slow

OUTCOME = {"latency_ms": 100, "success": True, "replica_loads": [1, 1, 1]}


def children(process: subprocess.Popen) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return list(map(int, found.split()))


def until(condition) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.05)


def test_it_goes_on_after_a_kill_and_ends_in_order_on_sigterm(tmp_path):
    publish(tmp_path)
    log, agent = tmp_path / "experience.sqlite", Process(tmp_path)
    first = agent.ask("POST", "/select_replica", README).body["decision_id"]
    until(lambda: kinds_of(log, first))  # after the flush interval
    agent.end(signal.SIGKILL)

    agent = Process(tmp_path)
    outcome = OUTCOME | {"decision_id": first}
    recorded = [agent.ask("POST", "/record_experience", outcome) for _ in range(2)]
    assert [each.body["status"] for each in recorded] == ["recorded", "duplicate"]
    assert agent.ask("GET", "/ready").body["version"] == "1"

    connection = HTTPConnection("127.0.0.1", agent.port, timeout=PATIENCE_S)
    connection.putrequest("POST", "/select_replica")
    body = json.dumps(README).encode()
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body[:20])  # under way
    time.sleep(0.3)
    agent.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    connection.send(body[20:])
    response = connection.getresponse()
    assert response.status == 200
    last = json.loads(response.read())["decision_id"]
    connection.close()
    assert agent.process.wait(PATIENCE_S) == 0
    assert [x.id for x in joined(log)] == [first]
    assert DECISION in kinds_of(log, last)


def test_it_does_not_start_where_it_cannot_write(tmp_path):
    command = [sys.executable, "-m", "marlserve.serving.agent"]
    given = os.environ | {"MODEL_PATH": "/dev/null/models"}
    done = subprocess.run(command, env=given, text=True, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: /dev/null/models cannot be a store")
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(900)
def test_it_learns_beside_its_decisions(tmp_path):
    """Training, saving and a trainer that dies: no decision waits for any of it."""
    agent = Process(tmp_path, RL_TRAINER="true", TRAINING_INTERVAL="0.5")
    try:
        for event in events(200):
            if event.kind == DECISION:
                loads, action = event.body["state"][:3], event.body["action"]
                latency_ms = 80.0 * loads[action]
                told = {"state": event.body["state"], "action": action, "latency_ms": latency_ms}
                answer = agent.ask("POST", "/record_experience", EXPERIENCE | told)
                assert answer.status == 200
        until(lambda: agent.ask("GET", "/stats").body["steps_done"] > 0)  # in the background
        train = {}
        thread = threading.Thread(
            target=lambda: train.update(
                {"answer": agent.ask("POST", "/train?batch_size=64&iterations=100")}
            )
        )
        thread.start()
        answered = 0
        while thread.is_alive():
            assert agent.ask("POST", "/select_replica", README).status == 200
            answered += 1
        thread.join()
        assert answered > 0
        status, said = train["answer"]
        assert (status, said["buffer_size"]) == (200, 199)
        assert said["steps_done"] >= 100
        assert said["loss"] > 0.0
        assert said["epsilon"] < 0.7
        until(lambda: agent.ask("GET", "/ready").body["version"] != "")
        saved = agent.ask("POST", "/save_model").body
        assert (saved["status"], saved["path"]) == ("saved", str(tmp_path))
        assert agent.ask("POST", "/reset_epsilon?epsilon=0.5").body["epsilon"] == 0.5
        (trainer,) = children(agent.process)
        os.kill(trainer, signal.SIGKILL)
        until(lambda: not agent.ask("GET", "/ready").body["trainer"])
        assert agent.ask("POST", "/train").status == 503
        assert agent.ask("POST", "/select_replica", README).status == 200
        until(lambda: agent.ask("GET", "/ready").body["trainer"])
        until(lambda: agent.ask("GET", "/stats").body["steps_done"] >= said["steps_done"])
    finally:
        assert agent.end() == 0
