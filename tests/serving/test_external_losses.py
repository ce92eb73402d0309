"""What is lost between a program and its trainer, and why; and that nothing else is."""

import json
import threading
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from external_cases import (
    agent_of,
    contract,
    everything,
    fronted,
    inlet_of,
    play,
    policy,
    steps,
    until,
)

from marlserve.policies.export import file
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.link import _PUSH_BYTES, _portions
from marlserve.serving.client.rl4sys import client_settings
from marlserve.serving.wire.program import Program, read

SEEN = np.zeros(4, np.float32)


def test_what_is_too_old_is_not_handed_out(front):
    inlet = inlet_of(front, contract(on_policy=True, most_staleness=1))
    inlet.publish(policy(), 0.0)
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        play(agent, 2)
        until(lambda: agent.link.sent == 10)
        for _ in range(2):
            inlet.publish(policy(), 0.0)
        assert inlet.take(10, 0.1) == []
        assert front.intakes["policy"].dropped["stale"] == 10
        until(lambda: agent.link.newest.version == 3)
        play(agent, 1)
        assert sum(map(len, inlet.take(5, 60.0))) == 5
    assert front.intakes["policy"].taken == 5


def test_what_the_trainer_refuses_is_counted_and_the_rest_is_taken(agent, front, inlet):
    agent.act(np.full(4, 20.0, np.float32)).reward(1.0)  # beyond the space
    agent.end(terminated=True)
    play(agent, 1)
    agent.close()
    assert [len(x) for x in everything(inlet)] == [5]
    assert agent.outbox.lost == {"refused": 1}
    assert "outside of Box" in agent.link.refused
    assert front.intakes["policy"].dropped == {"invalid": 1}


def test_a_full_queue_makes_a_simulator_wait_and_nothing_is_lost(front):
    inlet = inlet_of(front, contract(capacity_steps=10))
    inlet.publish(policy(), 0.0)
    agent = agent_of(front, most_steps=5, buffer_steps=10, when_full="wait")
    assert agent.wait_for_policy(60)
    thread = threading.Thread(target=play, args=(agent, 40))
    thread.start()
    got = 0
    while got < 200:
        got += sum(map(len, inlet.take(5, 60.0)))
    thread.join()
    agent.close()
    assert got == agent.link.sent == 200
    assert agent.outbox.lost.total() == front.intakes["policy"].dropped.total() == 0


def test_a_full_queue_loses_the_oldest_unless_told_otherwise(front):
    inlet = inlet_of(front, contract(capacity_steps=5))
    inlet.publish(policy(), 0.0)
    agent = agent_of(front, most_steps=5, buffer_steps=20)
    assert agent.wait_for_policy(60)
    play(agent, 100)
    agent.close(timeout_s=0.5)
    lost = agent.outbox.lost
    assert lost["full"] > 0
    assert agent.link.sent + lost.total() == 500


def test_what_does_not_fit_goes_to_the_disk_and_is_sent_later(front, tmp_path):
    inlet = inlet_of(front, contract(capacity_steps=5))
    inlet.publish(policy(), 0.0)
    spill = {"when_full": "spill", "spill_folder": tmp_path / "spill"}
    agent = agent_of(front, most_steps=5, buffer_steps=10, **spill)
    assert agent.wait_for_policy(60)
    play(agent, 50)
    assert len(list((tmp_path / "spill").iterdir())) > 20
    got = 0
    while got < 250:
        got += sum(map(len, inlet.take(5, 60.0)))
    agent.close()
    assert got == 250
    assert list((tmp_path / "spill").iterdir()) == []
    assert agent.outbox.lost.total() == 0


def test_the_disk_is_given_no_more_than_the_file_says(tmp_path):
    config, folder = tmp_path / "program.json", tmp_path / "spill"
    with fronted() as front:
        inlet_of(front).publish(policy(), 0.0)
        said = {"client_id": "policy", "train_server_address": front.address}
        said |= {"evaluator": "numpy", "max_traj_length": 5, "buffer_steps": 5}
        said |= {"when_full": "spill", "spill_folder": str(folder), "spill_bytes": 10_000}
        config.write_text(json.dumps(said))
        agent = Agent(client_settings(read(config)))
        assert agent.wait_for_policy(60)
    play(agent, 100)  # while nobody is there
    assert 5_000 < sum(path.stat().st_size for path in folder.iterdir()) <= 10_000
    assert 0 < agent.outbox.lost["full"] < 500
    agent.close(0.1)


def test_a_client_finds_a_front_that_was_started_anew():
    """Nothing of what was sent before or after it is lost, but for what lay in the queue."""
    with fronted() as front:
        inlet = inlet_of(front)
        inlet.publish(policy(), 0.0)
        agent = agent_of(front)
        assert agent.wait_for_policy(60)
        play(agent, 2)
        assert sum(map(len, inlet.take(10, 60.0))) == 10
    play(agent, 2)  # while it is away
    first_run = agent.link.newest.run
    with fronted(address=front.address) as again:
        inlet = inlet_of(again)
        inlet.publish(policy((9.0, 0.0, 0.0)), 0.0)
        assert sum(map(len, inlet.take(10, 60.0))) == 10
        until(lambda: agent.link.newest.run != first_run)
        assert agent.act(SEEN).action == 0
        agent.close()
    assert agent.outbox.lost.total() == 0


def test_a_learner_finds_a_front_that_was_started_anew():
    """It offers its contract again, and publishes again; an answer for its port is awaited."""
    with fronted() as front:
        inlet = inlet_of(front)
        inlet.publish(policy(), 0.0)
        front.intakes.clear()  # as a new one has none
        assert inlet.take(1, 0.1) == []
        assert front.intakes["policy"].newest_version == 1


def test_a_policy_that_nobody_uses_is_forgotten_until_somebody_asks():
    with fronted() as front:
        inlet = inlet_of(front)
        inlet.publish(policy(), 0.0)
        assert front.heard_s("policy") == -inf
        with agent_of(front) as agent:
            assert agent.wait_for_policy(60)
            play(agent, 1)
            until(lambda: agent.link.sent == 5)
        assert front.heard_s("policy") > 0.0
        front.evict("policy")
        until(lambda: "policy" in front.clients.asleep)
        assert front.intakes == {}
        assert front.clients.sessions == {}
        with agent_of(front) as agent:
            until(lambda: "is being started" in agent.link.trouble)
            assert front.clients.asked == {"policy"}
            inlet.publish(policy(), 0.0)  # as by whoever is started
            assert agent.wait_for_policy(60)


def test_each_client_has_a_learner_of_its_own_if_the_file_says_so():
    program = Program("policy", learners="per_client", most_learners=2)
    with fronted() as front:
        front.clients.own["policy"] = program
        agents = {name: agent_of(front, client_id=name) for name in ("one", "two")}
        until(lambda: front.clients.asked == {"policy/one", "policy/two"})
        refused = {"three": "2 clients have learners", "../one": "cannot have a learner"}
        for name, what in refused.items():
            agent = agent_of(front, client_id=name)
            until(lambda agent=agent, what=what: what in agent.link.trouble)
            agent.close(0.1)
        inlets = {}
        for best, (name, agent) in enumerate(agents.items()):
            inlets[name] = inlet_of(front, replace(contract(), policy=f"policy/{name}"))
            inlets[name].publish(policy(np.eye(3)[best]), 0.0)
            assert agent.wait_for_policy(60)
            assert agent.act(SEEN).action == best
            agent.end(truncated=True)
        play(agents["two"], 1)
        until(lambda: agents["two"].link.sent == 5)
        assert not everything(inlets["one"])
        assert len(everything(inlets["two"])) == 1
        front.evict("policy/one")
        agents["three"] = agent_of(front, client_id="three")
        until(lambda: front.clients.asked == {"policy/two", "policy/three"})
        for agent in agents.values():
            agent.close(0.1)


def test_clients_follow_what_changes(front, inlet):
    """From version to version, and what is broken on the way is asked for anew."""
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        for version in range(2, 5):
            inlet.publish(policy((float(version), 0.0, 0.0)), 0.0)
            until(lambda version=version: agent.link.newest.version == version)
            assert agent.act(SEEN).action == 0
        other = file.encoded(policy((7.0, 7.0, 7.0)))[1]
        agent.link._assembly.latest = replace(agent.link._assembly.latest, weights=other)
        inlet.publish(policy((0.0, 5.0, 0.0)), 0.0)
        until(lambda: agent.link.newest.version == 5)
        assert agent.act(SEEN).action == 1


def test_what_is_sent_twice_is_taken_once(front, inlet):
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        fragment = steps(run=front.run).message(1)
        for _ in range(2):  # as after an answer that was lost
            agent.link._push([fragment])
    assert sum(map(len, everything(inlet))) == 3
    assert front.intakes["policy"].dropped == {"duplicate": 3}


@pytest.mark.slow
def test_64_clients_at_once_lose_nothing(front, inlet):
    agents = [agent_of(front, client_id=f"client-{i}") for i in range(64)]
    assert all(agent.wait_for_policy(60) for agent in agents)
    threads = [threading.Thread(target=play, args=(agent, 4)) for agent in agents]
    for thread in threads:
        thread.start()
    got = []
    while sum(map(len, got)) < 64 * 20:
        got += inlet.take(20, 60.0)
    for thread, agent in zip(threads, agents, strict=True):
        thread.join()
        agent.close()
    assert sum(map(len, got)) == 64 * 20
    assert len({(x.session, x.episode) for x in got}) == 64 * 4
    assert front.intakes["policy"].dropped.total() == 0
    assert all(agent.outbox.lost.total() == 0 for agent in agents)


def test_a_decision_does_not_wait_for_a_trainer_that_is_stuck(front, inlet):
    """The line is held, and nothing that a program does stands still for it."""
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        stuck = threading.Event()
        agent.link._push = lambda fragments: stuck.wait(30)
        play(agent, 100)
        assert agent.books.last_id == 500
        assert agent.link.sent == 0
        stuck.set()


def test_much_is_sent_in_portions(front, inlet):
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        large = steps(1_000, run=front.run)
        large = [large.message(number) for number in range(1, 200)]
        assert sum(fragment.ByteSize() for fragment in large) > 2 * _PUSH_BYTES
        portions = _portions(large)
        assert [x.number for portion in portions for x in portion] == list(range(1, 200))
        for portion in portions:
            assert sum(fragment.ByteSize() for fragment in portion) <= _PUSH_BYTES
        assert _portions([]) == [[]]
        thread = threading.Thread(target=agent.link._push, args=(portions[0],))
        thread.start()
        while thread.is_alive():
            inlet.take(1, 0.01)
        assert agent.link.sent == 1_000 * len(portions[0])
