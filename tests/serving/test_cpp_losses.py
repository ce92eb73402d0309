"""What the client in C++ makes of what goes wrong: it is said, and what is lost is counted."""

import json
import time
from dataclasses import fields

import pytest
from cpp_programs import CPP, ZEROS, Console, ready
from external_cases import (
    SEEN,
    STEP_S,
    contract,
    everything,
    fronted,
    inlet_of,
    policy,
    until,
)
from gymnasium.spaces import Discrete

from marlserve.serving.wire.program import Program
from marlserve.serving.wire.seats import Seat

pytestmark = CPP


def test_teams_are_refused(front, tmp_path):
    seats = {"left": Seat(SEEN, Discrete(3)), "right": Seat(SEEN, Discrete(3))}
    inlet = inlet_of(front, contract(seats=seats))
    inlet.publish(policy(), 0.0)
    with Console(tmp_path, front.address) as client:
        until(lambda: client.counts()["unfit"])
        with pytest.raises(
            ValueError, match="act together; the client in C\\+\\+ is for one agent"
        ):
            client.act(*ZEROS)
        client.close(0.1)


def test_a_policy_for_other_spaces_is_not_played(front, tmp_path):
    inlet = inlet_of(front)
    inlet.publish(policy((0.0, 1.0)), 0.0)
    with Console(tmp_path, front.address) as client:
        until(lambda: "other spaces than the contract" in client.counts()["trouble"])
        assert client.counts()["version"] == 0
        client.close(0.1)


def test_without_the_token_there_is_nothing(tmp_path):
    with fronted(token="secret") as front:
        inlet = inlet_of(front)
        inlet.publish(policy(), 0.0)
        with Console(tmp_path, front.address, token="guess") as client:
            until(lambda: "UNAUTHENTICATED" in client.counts()["trouble"])
            client.close(0.1)
        with ready(tmp_path, front, token="secret") as client:
            client.live([1.0])
            assert client.close()["sent"] == 1


def test_a_trainer_that_comes_back_is_found_again(tmp_path):
    """What was lived through while it was away waits, and what had no room is counted."""
    with fronted() as front:
        address = front.address
        first = inlet_of(front)
        first.publish(policy(), 0.0)
        client = ready(tmp_path, front, max_traj_length=5, buffer_steps=20)
        client.live([1.0] * 5)
        until(lambda: client.counts()["sent"] == 5)
        first.close()
    until(lambda: client.counts()["trouble"])
    for _ in range(6):
        client.live([2.0] * 5)
    with fronted(address=address) as front:
        inlet = inlet_of(front)
        inlet.publish(policy((9.0, 1.0, 2.0)), 0.0)
        with client:
            run = front.run
            until(lambda: client.counts()["run"] == run)
            assert client.act(*ZEROS)["choices"] == [0]
            until(lambda: (x := client.counts())["sent"] + sum(x["lost"].values()) == 35)
            lost = client.close()["lost"]
            got = everything(inlet)
    # 20 steps wait in the queue, and more of them in the sender's hands, who was the first to ask.
    kept = sum(map(len, got))
    assert 20 <= kept <= 30
    assert lost == ({"full": 30 - kept} if kept < 30 else {})
    assert all((x.only.rewards == 2.0).all() for x in got)


def test_a_client_that_is_closed_while_the_trainer_is_away_says_what_is_lost(tmp_path):
    with fronted() as front:
        inlet = inlet_of(front)
        inlet.publish(policy(), 0.0)
        client = ready(tmp_path, front)
        inlet.close()
    with client:
        client.live([1.0] * 7)
        assert client.close(0.3)["lost"] == {"unsent": 7}


def test_what_the_trainer_does_not_take_is_told(client, inlet):
    client.ask("reward", client.act(50, 0, 0, 0)["id"], 1.0)  # the space ends at 9
    client.ask("terminate", "agent")
    client.live([1.0] * 2)
    counts = client.close()
    assert counts["lost"] == {"refused": 1}
    assert "outside of Box(-9.0, 9.0" in counts["refused"]
    assert (counts["sent"], len(everything(inlet))) == (2, 1)


def test_what_is_too_old_is_not_sent(front, tmp_path):
    inlet = inlet_of(front, contract(on_policy=True, most_staleness=0))
    inlet.publish(policy(), 0.0)
    with ready(tmp_path, front, reward_deadline_s=60.0) as client:
        old = [client.act(*ZEROS)["id"] for _ in range(3)]
        client.ask("terminate", "agent")
        inlet.publish(policy(), 0.0)
        until(lambda: client.counts()["version"] == 2)
        for each in old:
            client.ask("reward", each, 1.0)
        client.live([1.0])
        counts = client.close()
    assert (counts["lost"], counts["sent"]) == ({"stale": 3}, 1)


def test_a_program_that_waits_loses_nothing(front, tmp_path):
    """It is as fast as the learner takes steps, of which it has 4 at a time."""
    inlet = inlet_of(front, contract(capacity_steps=4))
    inlet.publish(policy(), 0.0)
    said = {"when_full": "wait", "max_traj_length": 2, "buffer_steps": 4}
    with ready(tmp_path, front, **said) as client:
        for _ in range(40):
            for step in range(2):
                client.process.stdin.write(f"act agent {step} 0 0 0\n")
            client.process.stdin.write("terminate agent\n")
        client.process.stdin.flush()
        got = 0
        while got < 80:
            got += sum(map(len, inlet.take(4, STEP_S)))
        for _ in range(40 * 3):
            client.process.stdout.readline()
        assert client.close()["lost"] == {}
    assert got == 80


def test_a_program_that_waits_begins_by_the_newest_policy(front, tmp_path):
    """It makes what fills the queue and its share, all of the 40 steps, and stands still."""
    inlet = inlet_of(front, contract(most_staleness=2, on_policy=True, capacity_steps=40))
    inlet.publish(policy(), 0.0)
    with ready(tmp_path, front, when_full="wait") as client:
        for _ in range(60):
            client.process.stdin.write("act agent 0 0 0 0\n" * 5 + "terminate agent\n")
        client.process.stdin.flush()
        until(lambda: front.intakes["policy"].queued_steps == 40)
        time.sleep(0.3)
        inlet.publish(policy(), 0.0)
        time.sleep(1.0)  # it has arrived
        got = 0
        while got < 300:
            got += sum(map(len, inlet.take(min(40, 300 - got), STEP_S)))
        versions = []
        for _ in range(60):
            answers = [client.process.stdout.readline() for _ in range(6)]
            versions += [json.loads(answer)["version"] for answer in answers[:5]]
        assert client.close()["lost"] == {}
    first = versions.count(1)
    assert 40 <= first <= 80
    assert versions == [1] * first + [2] * (300 - first)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("unknown key 'colour'; known are buffer_steps ca client_id", {"colour": "red"}),
        ('when_full is "keep"; allowed is drop, spill or wait', {"when_full": "keep"}),
        ("spill_folder is ''; allowed is a folder", {"when_full": "spill"}),
        ("send_frequency is 0", {"send_frequency": 0}),
        ('max_traj_length is "many"; allowed is an integer', {"max_traj_length": "many"}),
        ("default_reward is", {"default_reward": 1e12}),
        ("ca is nowhere.pem, which cannot be read", {"ca": "nowhere.pem"}),
    ],
)
def test_a_file_that_is_wrong_is_refused(said, wrong, tmp_path):
    client = Console(tmp_path, "127.0.0.1:1", **wrong)
    out, errors = client.process.communicate(timeout=60)
    assert (client.process.returncode, out) == (1, "")
    assert said in errors


def test_every_key_of_the_file_is_known(tmp_path):
    client = Console(tmp_path, "127.0.0.1:1", colour="red")
    _, errors = client.process.communicate(timeout=60)
    known = errors.partition("known are ")[2].split()
    assert sorted(known) == sorted(each.name for each in fields(Program))
