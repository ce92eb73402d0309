"""The client in C++ and a front: what is decided, and what arrives of it."""

import json
import re
import signal
import socket
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from cpp_programs import CPP, ZEROS, Console, program, ready
from external_cases import SEEN, STEP_S, contract, everything, inlet_of, policy, until
from gymnasium.spaces import Discrete

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.serving.wire.steps import GOES_ON, TERMINATED, TRUNCATED

pytestmark = CPP
LANDER = {  # that of docs/external_training.md
    "client_id": "small-lander",
    "algorithm_parameters": {
        "input_size": 8,
        "act_dim": 4,
        "seed": 0,
        "lr": 1e-3,
        "train_batch_size_per_learner": 2_000,
        "entropy_coeff": 0.01,
    },
    "max_traj_length": 300,
    "buffer_steps": 2_000,
    "when_full": "wait",
}


def test_what_is_lived_through_arrives(client, inlet):
    for step in range(3):
        decision = client.act(*[step] * 4)
        assert (decision["choices"], decision["version"]) == ([2], 1)
        assert decision["log_probability"] == 0.0
        assert client.ask("reward", decision["id"], 10.0 + step)
    client.ask("terminate", "agent")
    client.ask("reward", client.act(*ZEROS)["id"], 1.0)
    client.ask("truncate", "agent", 1, 1, 1, 1)
    counts = client.close()
    first, second = everything(inlet)
    np.testing.assert_array_equal(first.only.observations[:, 0], [0, 1, 2, 2])
    np.testing.assert_array_equal(first.only.actions, [2, 2, 2])
    np.testing.assert_array_equal(first.only.rewards, [10, 11, 12])
    np.testing.assert_array_equal(first.only.outputs, [[0, 1, 2]] * 3)
    np.testing.assert_array_equal(first.versions, [1, 1, 1])
    assert (first.ending, second.ending) == (TERMINATED, TRUNCATED)
    assert (first.first_step, first.only.return_before, first.agent) == (0, 0.0, "agent")
    np.testing.assert_array_equal(second.only.observations[-1], np.ones(4))
    assert first.episode != second.episode
    assert (counts["sent"], counts["lost"], counts["decisions"]) == (4, {}, 4)


def test_a_truncated_episode_without_its_last_observation_lacks_its_last_step(client, inlet):
    for step in range(3):
        client.ask("reward", client.act(*[step] * 4)["id"], 1.0)
    client.ask("truncate", "agent")
    client.close()
    (only,) = everything(inlet)
    np.testing.assert_array_equal(only.only.observations[:, 0], [0, 1, 2])
    assert (len(only), only.ending) == (2, TRUNCATED)


def test_what_is_unfinished_is_sent_on_close(client, inlet):
    client.live([1.0, 2.0], agent="one")
    for agent in ("one", "other", "one"):
        client.ask("reward", client.act(*ZEROS, agent=agent)["id"], 5.0)
    assert client.close()["sent"] == 3  # of `other` the only step is left out
    got = everything(inlet)
    assert [(x.agent, len(x), x.ending) for x in got] == [
        ("one", 2, TERMINATED),
        ("one", 1, TRUNCATED),
    ]


def test_long_episodes_are_sent_in_parts(front, inlet, tmp_path):
    with ready(tmp_path, front, max_traj_length=4) as client:
        client.live([1.0] * 10)
        client.close()
    parts = everything(inlet)
    assert [(len(x), x.first_step, x.only.return_before) for x in parts] == [
        (4, 0, 0.0),
        (4, 4, 4.0),
        (2, 8, 8.0),
    ]
    assert [x.ending for x in parts] == [GOES_ON, GOES_ON, TERMINATED]
    assert len({x.episode for x in parts}) == 1
    np.testing.assert_array_equal(parts[0].only.observations[-1], parts[1].only.observations[0])


@pytest.mark.parametrize("on_policy", [False, True])
def test_newer_policies_are_played_at_once(on_policy, front, tmp_path):
    """Of an on-policy learner they begin a fragment."""
    inlet = inlet_of(front, contract(on_policy=on_policy, most_staleness=1))
    inlet.publish(policy(), 0.0)
    with ready(tmp_path, front) as client:
        client.ask("reward", client.act(*ZEROS)["id"], 0.0)
        inlet.publish(policy((5.0, 1.0, 2.0)), 0.0)
        until(lambda: client.counts()["version"] == 2)
        decision = client.act(1, 1, 1, 1)
        assert (decision["choices"], decision["version"]) == ([0], 2)
        client.ask("reward", decision["id"], 0.0)
        client.ask("terminate", "agent")
        client.close()
    got = everything(inlet)
    assert [x.versions.tolist() for x in got] == ([[1], [2]] if on_policy else [[1, 2]])
    assert [x.first_step for x in got] == list(range(len(got)))
    if on_policy:
        assert (got[0].ending, got[0].only.observations[-1, 0]) == (GOES_ON, 1.0)


def test_what_changed_of_a_large_policy_is_enough(front, tmp_path):
    """Of weights that differ little, only that is sent; the checksum is of what comes out."""
    inlet, rng = inlet_of(front), np.random.default_rng(0)
    layers = (
        Layer("hidden", "linear", ("observation",), (500,)),
        Layer("q", "linear", ("hidden",), (3,)),
    )
    weights = {
        "hidden.weight": rng.normal(size=(500, 4)).astype(np.float32),
        "hidden.bias": rng.normal(size=500).astype(np.float32),
        "q.weight": rng.normal(size=(3, 500)).astype(np.float32),
        "q.bias": np.zeros(3, np.float32),
    }
    actions = []
    with Console(tmp_path, front.address) as client:

        def plays(version: int) -> bool:
            return client.counts()["version"] == version

        for version in range(1, 4):
            weights = {name: values * np.float32(1.0 + 1e-6) for name, values in weights.items()}
            weights["q.bias"] = np.float32(np.arange(3) == version % 3) * 1e4
            network = Network(SEEN, Discrete(3), layers, weights, "action values")
            inlet.publish(PolicyFile({"q": network}, {"*": "q"}), 0.0)
            until(partial(plays, version))
            actions += client.act(*ZEROS)["choices"]
    assert actions == [1, 2, 0]


def test_rewards_may_come_late(front, inlet, tmp_path):
    with ready(tmp_path, front, reward_deadline_s=60.0) as client:
        ids = [client.act(*ZEROS)["id"] for _ in range(3)]
        client.ask("terminate", "agent")
        assert inlet.take(1, STEP_S) == []  # it waits for them
        for each, value in ((0, 1.0), (1, 2.0), (2, 7.0), (2, 3.0)):  # the last one in its place
            assert client.ask("reward", ids[each], value)
        (only,) = inlet.take(3, 60.0)
        np.testing.assert_array_equal(only.only.rewards, [1, 2, 3])
        until(lambda: client.counts()["sent"] == 3)
        assert not client.ask("reward", ids[0], 1.0)
        with pytest.raises(ValueError, match="the reward is nan; it must be finite"):
            client.ask("reward", client.act(*ZEROS)["id"], "nan")
        counts = client.counts()
        assert (counts["late"], counts["defaulted"]) == (1, 0)


def test_rewards_that_never_come_are_the_default(front, inlet, tmp_path):
    with ready(tmp_path, front, reward_deadline_s=0.2, default_reward=-5.0) as client:
        client.ask("reward", client.act(*ZEROS)["id"], 1.0)
        client.act(*ZEROS)
        client.ask("terminate", "agent")
        (only,) = inlet.take(2, 60.0)
        assert client.counts()["defaulted"] == 1
    np.testing.assert_array_equal(only.only.rewards, [1, -5])


def test_without_a_policy_the_fallback_acts_and_nobody_learns_from_it(front, tmp_path):
    inlet = inlet_of(front)
    with Console(tmp_path, front.address, fallback_action=1) as client:
        decision = client.act(*ZEROS)
        assert (decision["choices"], decision["version"]) == ([1], 0)
        assert not client.ask("reward", decision["id"], 1.0)
        client.ask("terminate", "agent")
        inlet.publish(policy(), 0.0)
        assert client.ask("wait", 60)
        client.live([1.0])
        counts = client.close()
    assert (counts["fallbacks"], counts["sent"], counts["decisions"]) == (1, 1, 2)
    assert len(everything(inlet)) == 1


def test_what_is_no_observation_is_refused_at_once(client):
    with pytest.raises(ValueError, match=r"has 2 numbers; it must be \[4\]"):
        client.act(1, 2)
    with pytest.raises(ValueError, match="there is a mask; this policy learns without"):
        client.act(*ZEROS, mask=[1, 1, 1])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_lander_learns_from_a_trainer(tmp_path):
    """From -190 to a mean return of 80, and the trainer learns from what was sent."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    config = tmp_path / "lander.json"
    said = {"train_server_address": address, "folder": str(tmp_path / "run")}
    config.write_text(json.dumps(LANDER | said))
    command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", config]
    with (tmp_path / "said.txt").open("w") as out:
        trainer = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        done = subprocess.run(
            [program("lander"), config, "80", "12"], text=True, capture_output=True, check=True
        )
    finally:
        trainer.send_signal(signal.SIGTERM)
        assert trainer.wait(120) == 0
    *_, last = done.stdout.splitlines()
    assert float(re.search(r"return (\S+),", last)[1]) >= 80.0
    assert last.endswith("lost 0")
    lines = (tmp_path / "said.txt").read_text().splitlines()
    *_, counts = [json.loads(x) for x in lines if x.startswith('{"policy"')]
    assert counts["taken"] + counts["queued"] >= 0.9 * counts["received"]
