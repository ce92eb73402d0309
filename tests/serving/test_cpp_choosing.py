"""How the client in C++ draws actions, and what is sent of them, masks and memories."""

from math import log

import numpy as np
import pytest
from cpp_programs import CPP, ZEROS, ready
from external_cases import SEEN, contract, everything, inlet_of, policy
from gymnasium.spaces import Box, MultiDiscrete
from policy_files import made

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.serving.wire.seats import Seat

pytestmark = CPP


def test_logits_are_drawn_from_their_softmax(front, tmp_path):
    inlet = inlet_of(front)
    inlet.publish(policy((0.0, 0.0, log(2.0)), outputs="logits"), 0.0)
    with ready(tmp_path, front, seed=3) as client:
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
    with ready(tmp_path, front, seed=3) as client:
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
    with ready(tmp_path, front) as client:
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
    with ready(tmp_path, front, seed=5) as client:
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
    with ready(tmp_path, front) as client:
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
