"""A policy file acts as the checkpoint that it is made from, by whichever evaluator."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_files import CASES, made, masks, observations, own_policy, write_checkpoint

from marlserve.policies import export
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numba_policy import NumbaPolicy
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.policies.export.resized import resized

STEPS, BATCH = 9, 3


def assert_same_actions(some, others, case):
    """Equal choices; numbers as close as float32 allows."""
    assert some.keys() == others.keys()
    for agent, actions in some.items():
        assert actions.shape == others[agent].shape
        assert actions.dtype == others[agent].dtype
        if isinstance(CASES[case].action_space, Box):
            np.testing.assert_allclose(actions, others[agent], rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(actions, others[agent])


@pytest.mark.parametrize("case", CASES)
def test_actions_are_those_of_the_checkpoint(case, tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", {"shared": made(case)})
    checkpoint = CheckpointPolicy(folder)
    batched = export.load(export.write(folder, tmp_path / "policy"))
    single = NumbaPolicy(export.read(tmp_path / "policy"))
    rng = np.random.default_rng(1)
    for masked in (False, True):
        for _ in range(STEPS):
            seen = observations(case, rng, BATCH)
            legal = masks(case, rng, BATCH) if masked else None
            expected = checkpoint(seen, legal)
            assert_same_actions(batched(seen, legal), expected, case)
            assert_same_actions(single(seen, legal), expected, case)
        for policy in (checkpoint, batched, single):
            policy.reset()


def torch_outputs(module, seen, hidden):
    """What the module's network puts out, [n, ...], and its memory after that."""
    seen = torch.from_numpy(seen)
    name = type(module).__name__
    if name in ("QAgentModule", "SACGRUModule"):
        network = module.network if name == "QAgentModule" else module.actor
        outputs, hidden = network(seen[None], hidden)
        outputs = outputs[0]
        if name == "SACGRUModule" and module.is_box:
            outputs = outputs[..., 0].tanh()
    elif name == "ActorCriticModule":
        outputs = module.actor(module._seen({"obs": seen}))
    elif name == "DQNModule":
        outputs = module.network(seen)
    elif name == "SACModule":
        outputs = module._outputs(seen.flatten(1))
        outputs = outputs[..., 0].tanh() if module.is_box else outputs
    elif name == "TD3Module":
        outputs = module.actor(seen.flatten(1))
    else:
        outputs = module.beliefs(seen)[0]
    return outputs.flatten(1).numpy(), hidden


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.01, 0.3, 1.0]))
def test_outputs_are_those_of_the_module(case, seed, scale):
    module = made(case, seed)
    policy = NumpyPolicy(PolicyFile({"p": exported(module, True, False)}, {"a0": "p"}))
    rng, hidden = np.random.default_rng(seed), None
    for _ in range(STEPS):
        seen = scale * observations(case, rng, BATCH, ["a0"])["a0"]
        with torch.no_grad():
            expected, hidden = torch_outputs(module, seen, hidden)
        outputs = policy.outputs({"a0": seen})["a0"].reshape(expected.shape)
        tolerance = 1e-5 * max(1.0, np.abs(expected).max())  # float32 has 7 digits
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_one_decision_at_a_time_is_the_same(case):
    file = PolicyFile({"p": exported(made(case), True, False)}, {"a0": "p", "a1": "p"})
    batched, single = NumpyPolicy(file), NumbaPolicy(file)
    rng = np.random.default_rng(2)
    for step in range(2 * STEPS):
        if step == STEPS:
            batched.reset()
            single.reset()
        seen, legal = observations(case, rng, 1), masks(case, rng, 1)
        expected = batched(seen, legal)
        for agent, observation in seen.items():
            mask = None if legal is None else legal[agent][0]
            action = {agent: single.decide(agent, observation[0], mask)[None]}
            assert_same_actions(action, {agent: expected[agent]}, case)


def test_agents_with_policies_of_their_own_play_them(tmp_path):
    modules = {"of_a0": made("qmix", 1), "of_a1": made("ppo-numbers", 2)}
    folder = write_checkpoint(tmp_path / "checkpoint", modules, own_policy)
    export.write(folder, tmp_path / "policy", agents=["a0", "a1"])
    checkpoint, policy = CheckpointPolicy(folder), export.load(tmp_path / "policy")
    rng = np.random.default_rng(3)
    for _ in range(STEPS):
        seen = observations("qmix", rng, BATCH)
        legal = {"a0": masks("qmix", rng, BATCH)["a0"]}
        expected = checkpoint({"a0": seen["a0"]}, legal) | checkpoint({"a1": seen["a1"]})
        actions = policy(seen, legal)
        assert_same_actions({"a0": actions["a0"]}, {"a0": expected["a0"]}, "qmix")
        assert_same_actions({"a1": actions["a1"]}, {"a1": expected["a1"]}, "ppo-numbers")


def test_agents_that_share_a_policy_and_see_their_index_act_alike(tmp_path):
    module = made("qmix", indexed_agents=["a0", "a1"])  # 2 of the 5 numbers that it sees
    folder = write_checkpoint(tmp_path / "checkpoint", {"shared": module})
    checkpoint = CheckpointPolicy(folder)
    batched = export.load(export.write(folder, tmp_path / "policy"))
    single, rng = NumbaPolicy(batched.file), np.random.default_rng(9)
    differ = False
    for _ in range(STEPS):
        alike = rng.normal(0, 2, (BATCH, 3)).astype(np.float32)
        expected = checkpoint({"a0": alike, "a1": alike})
        assert_same_actions(batched({"a0": alike, "a1": alike}), expected, "qmix")
        assert_same_actions(single({"a0": alike, "a1": alike}), expected, "qmix")
        differ |= bool((expected["a0"] != expected["a1"]).any())
    assert differ


def test_agents_come_and_go_and_keep_their_memory():
    file = PolicyFile({"p": exported(made("qmix"), True, False)}, {"*": "p"})
    rng = np.random.default_rng(4)
    seen = observations("qmix", rng, BATCH, ["a0", "a1", "a2"])
    together, alone = NumpyPolicy(file), NumpyPolicy(file)
    for agents in (["a0", "a1"], ["a1"], ["a2", "a1"], ["a1", "a0"]):
        outputs = together.outputs({agent: seen[agent] for agent in agents})
        assert list(outputs) == agents
        expected = alone.outputs({"a1": seen["a1"]})["a1"]
        np.testing.assert_allclose(outputs["a1"], expected, rtol=1e-5, atol=1e-6)


def test_where_nothing_is_legal_the_first_is_taken():
    file = PolicyFile({"p": exported(made("qmix-each"), True, False)}, {"*": "p"})
    seen = observations("qmix-each", np.random.default_rng(5), 2)
    nothing = {agent: np.zeros((2, 3, 3), bool) for agent in seen}
    for policy in (NumpyPolicy(file), NumbaPolicy(file)):
        assert all((actions == 0).all() for actions in policy(seen, nothing).values())


@pytest.mark.parametrize("case", ["ppo-choice", "dqn-choice"])
@pytest.mark.parametrize("number", [2, 3, 7])
def test_what_treats_things_alike_plays_any_number_of_them(case, number):
    """As the module does that has the same weights and so many things."""
    size = CASES[case].observation_space.shape[1]
    module = made(case)
    larger = CASES[case].module(
        observation_space=Box(-np.inf, np.inf, (number, size)),
        action_space=Discrete(number),
        inference_only=True,
        model_config=CASES[case].model_config,
    )
    larger.load_state_dict(module.state_dict())
    network = resized(exported(module, normalize=True, clip=False), number)
    expected = exported(larger.eval(), normalize=True, clip=False)
    rng = np.random.default_rng(0)
    seen = {"a": rng.normal(0, 2, (50, number, size)).astype(np.float32)}
    played = [NumpyPolicy(PolicyFile({"p": each}, {"a": "p"})) for each in (network, expected)]
    actions = [policy(seen)["a"] for policy in played]
    np.testing.assert_array_equal(*actions)
    assert len({*actions[0].tolist()}) > 1


@pytest.mark.parametrize("case", ["ppo", "ppo-each", "qmix", "td3"])
def test_what_has_weights_for_each_thing_does_not(case):
    network = exported(made(case), normalize=True, clip=False)
    with pytest.raises(ValueError, match="allowed is"):
        resized(network, 5)
