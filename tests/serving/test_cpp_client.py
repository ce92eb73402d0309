"""The client in C++ and a front: what is decided, what arrives of it, and what is lost."""

from functools import partial
from math import log

import numpy as np
import pytest
from cpp_programs import CPP, Console
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
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from policy_files import made

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import GOES_ON, TERMINATED, TRUNCATED

pytestmark = CPP
ZEROS = (0.0,) * 4


@pytest.fixture
def client(front, inlet, tmp_path):
    """One that has the policy."""
    with Console(tmp_path, front.address) as client:
        assert client.ask("wait", 60)
        yield client


def client_of(front, tmp_path, **said) -> Console:
    client = Console(tmp_path, front.address, **said)
    assert client.ask("wait", 60)
    return client


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
    with client_of(front, tmp_path, max_traj_length=4) as client:
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
    with client_of(front, tmp_path) as client:
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
    with client_of(front, tmp_path, reward_deadline_s=60.0) as client:
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
    with client_of(front, tmp_path, reward_deadline_s=0.2, default_reward=-5.0) as client:
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


# How actions are drawn ---------------------------------------------------------------------------


def test_logits_are_drawn_from_their_softmax(front, tmp_path):
    inlet = inlet_of(front)
    inlet.publish(policy((0.0, 0.0, log(2.0)), outputs="logits"), 0.0)
    with client_of(front, tmp_path, seed=3) as client:
        decisions = [client.act(*ZEROS) for _ in range(2_000)]
        counts = np.bincount([each["choices"][0] for each in decisions], minlength=3)
        # Within four deviations of a binomial.
        np.testing.assert_allclose(counts / 2_000, [0.25, 0.25, 0.5], atol=4 * 0.5 / 2_000**0.5)
        chances = {each["choices"][0]: each["log_probability"] for each in decisions}
        np.testing.assert_allclose(
            [chances[i] for i in range(3)], [log(0.25), log(0.25), log(0.5)], atol=1e-6
        )


def test_a_share_of_actions_is_drawn_from_all_alike(front, tmp_path):
    inlet = inlet_of(front)
    inlet.publish(policy(), 0.3)
    with client_of(front, tmp_path, seed=3) as client:
        decisions = [client.act(*ZEROS) for _ in range(2_000)]
        counts = np.bincount([each["choices"][0] for each in decisions], minlength=3)
        np.testing.assert_allclose(counts / 2_000, [0.1, 0.1, 0.8], atol=4 * 0.4 / 2_000**0.5)
        chances = {each["choices"][0]: each["log_probability"] for each in decisions}
        np.testing.assert_allclose(
            [chances[i] for i in range(3)], [log(0.1), log(0.1), log(0.8)], atol=1e-6
        )


def test_masks_and_several_components_travel(front, tmp_path):
    """Nothing else than what is legal is chosen; the space starts at 2 and 5."""
    seat = Seat(SEEN, MultiDiscrete([2, 3], start=[2, 5]), masked=True)
    inlet = inlet_of(front, contract(seats={"*": seat}, columns=("log_probabilities",)))
    layers = (Layer("q", "linear", ("observation",), (6,)),)
    weights = {"q.weight": np.zeros((6, 4), np.float32), "q.bias": np.float32([2, 1, 0, 1, 2, 3])}
    network = Network(SEEN, seat.action_space, layers, weights, "action values")
    inlet.publish(PolicyFile({"q": network}, {"*": "q"}), 0.0)
    with client_of(front, tmp_path) as client:
        for mask, wanted in (((), [2, 7]), ((0, 1, 1, 1, 0), [3, 6])):
            decision = client.act(*ZEROS, mask=mask)
            assert decision["choices"] == wanted
            client.ask("reward", decision["id"], 1.0)
        with pytest.raises(ValueError, match="leaves nothing to choose of component 0"):
            client.act(*ZEROS, mask=[0, 0, 1, 1, 1])
        with pytest.raises(ValueError, match="the mask has 2 values; it must be 5"):
            client.act(*ZEROS, mask=[1, 1])
        client.ask("terminate", "agent")
        client.close()
    (only,) = everything(inlet)
    np.testing.assert_array_equal(only.only.actions, [[0, 2], [1, 1]])
    np.testing.assert_array_equal(only.only.masks[0], [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(only.only.masks[1], [[0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize("squash", ["", "tanh"])
def test_numbers_are_drawn_around_the_means(squash, front, tmp_path):
    played = Box(np.float32([0.0, -8.0]), np.float32([10.0, 8.0]))
    inlet = inlet_of(front, contract(seats={"*": Seat(SEEN, played)}, columns=()))
    layers = (Layer("mean", "linear", ("observation",), (2,)),)
    weights = {"mean.weight": np.zeros((2, 4), np.float32), "mean.bias": np.float32([0.5, -0.25])}
    network = Network(SEEN, played, layers, weights, "numbers", stretch=True, clip=True)
    noise = Noise("mean", log_deviations=(log(0.1), log(0.2)), squash=squash)
    inlet.publish(PolicyFile({"p": network}, {"*": "p"}), 0.0, {"p": noise})
    count = 1_000
    with client_of(front, tmp_path, seed=5) as client:
        decisions = [client.act(*ZEROS) for _ in range(count)]
        client.ask("terminate", "agent")
        client.close()
    (only,) = everything(inlet)
    raw, told = only.only.actions, np.array([each["numbers"] for each in decisions])
    stretched = played.low + (raw + 1) * (played.high - played.low) / 2
    stretched = np.clip(stretched, played.low, played.high)
    np.testing.assert_allclose(told, stretched, rtol=1e-5, atol=1e-5)
    drawn = np.arctanh(raw.astype(float)) if squash else raw
    np.testing.assert_allclose(drawn.mean(0), [0.5, -0.25], atol=4 * 0.2 / count**0.5)
    np.testing.assert_allclose(drawn.std(0), [0.1, 0.2], rtol=4 / (2 * count) ** 0.5)
    chances = [each["log_probability"] for each in decisions]
    if squash:
        assert set(chances) == {None}
    else:
        z = (raw - [0.5, -0.25]) / [0.1, 0.2]
        density = -0.5 * z**2 - np.log([0.1, 0.2]) - 0.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(chances, density.sum(1), atol=1e-4)


def test_memories_are_kept_and_sent(front, tmp_path):
    """A recurrent policy acts as with numpy, over fragments and episodes."""
    network = exported(made("qmix"), True, False)
    file = PolicyFile({"p": network}, {"*": "p"})
    seat = Seat(network.observation_space, network.action_space, memory_size=8)
    inlet = inlet_of(front, contract(seats={"*": seat}, columns=(), most_steps=4))
    inlet.publish(file, 0.0)
    rng, expected = np.random.default_rng(1), NumpyPolicy(file)
    with client_of(front, tmp_path) as client:
        for _ in range(3):
            for _ in range(10):
                seen = rng.normal(0, 2, 5).astype(np.float32)
                decision = client.act(*seen.tolist())
                assert decision["choices"] == expected({"agent": seen[None]})["agent"].tolist()
            client.ask("terminate", "agent")
            expected.reset()
        client.close()
    parts = everything(inlet)
    assert [len(x) for x in parts] == [4, 4, 2] * 3
    for part in parts:
        assert part.only.memory.any() == (part.first_step > 0)


# What goes wrong ---------------------------------------------------------------------------------


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
        with client_of(front, tmp_path, token="secret") as client:
            client.live([1.0])
            assert client.close()["sent"] == 1


def test_a_trainer_that_comes_back_is_found_again(tmp_path):
    """What was lived through while it was away waits, and what had no room is counted."""
    with fronted() as front:
        address = front.address
        first = inlet_of(front)
        first.publish(policy(), 0.0)
        client = client_of(front, tmp_path, max_traj_length=5, buffer_steps=20)
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
            counts = client.close()
            got = everything(inlet)
    # One fragment may have left the queue, and waits for the trainer in the sender's hands.
    kept = sum(map(len, got))
    assert kept in (20, 25)
    assert (counts["sent"], counts["lost"]) == (5 + kept, {"full": 30 - kept})
    assert all((x.only.rewards == 2.0).all() for x in got)


def test_a_client_that_is_closed_while_the_trainer_is_away_says_what_is_lost(tmp_path):
    with fronted() as front:
        inlet = inlet_of(front)
        inlet.publish(policy(), 0.0)
        client = client_of(front, tmp_path)
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
    with client_of(front, tmp_path, reward_deadline_s=60.0) as client:
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
    with client_of(front, tmp_path, **said) as client:
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


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("unknown key 'colour'", {"colour": "red"}),
        ("when_full is 'spill'; allowed is drop or wait", {"when_full": "spill"}),
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
