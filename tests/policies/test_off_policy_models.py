"""The modules and the settings of DQN, SAC and TD3, without Ray."""

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from off_policy_rows import loss_terms
from on_policy_rows import make_learner, make_sequences

from marlserve.policies import dqn, sac, td3
from marlserve.policies.models.action_distributions import Choices, Squashed
from marlserve.policies.models.mlp import Twin
from marlserve.policies.sampling.sequences import Sequences


def test_target_actions_are_smoothed_within_bounds():
    module = make_learner("td3", "box", target_noise=0.5, target_noise_clip=0.2).module["shared"]
    actions = torch.linspace(-1, 1, 41).repeat(500, 1)
    smoothed = module.smoothed(actions)
    assert (smoothed - actions).abs().max() <= 0.2 + 1e-6
    assert smoothed.abs().max() == 1.0
    inner = (smoothed - actions)[:, 10:31]
    assert inner.std() == pytest.approx(0.168, abs=0.01)  # N(0, 0.5) cut off at 0.2
    assert inner.mean().abs() < 0.01


def test_td3_explores_at_random_then_with_noise():
    module = make_learner("td3", "box", random_timesteps=100, exploration_noise=0.1).module[
        "shared"
    ]
    batch = {"obs": torch.randn(1, 4).expand(2000, 4)}
    greedy = module.forward_inference(batch)["actions"]
    assert (greedy == greedy[0]).all()
    warm = module.forward_exploration(batch, t=99)["actions"]
    assert warm.std() == pytest.approx(1 / math.sqrt(3), abs=0.02)
    later = module.forward_exploration(batch, t=100)["actions"]
    assert (later - greedy).std() == pytest.approx(0.1, abs=0.01)


def test_the_density_of_a_squashed_sample():
    outputs = torch.randn(200, 4)
    torch.manual_seed(0)
    actions, logp = Squashed(*outputs.chunk(2, -1), (2,)).draw()
    mean, log_std = outputs[:, :2], -5 + 3.5 * (torch.tanh(outputs[:, 2:]) + 1)
    squashed = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.TanhTransform()
    )
    inner = (actions.abs() < 0.99).all(-1)  # where atanh of a float32 has digits
    expected = squashed.log_prob(actions.clamp(-0.999, 0.999)).sum(-1)
    torch.testing.assert_close(logp[inner], expected[inner], rtol=1e-3, atol=1e-3)
    assert inner.sum() > 50


def test_sac_draws_legal_actions_by_their_probabilities():
    module = make_learner("sac", "discrete").module["shared"]
    batch = {
        "obs": torch.randn(1, 4).expand(20_000, 4),
        "action_mask": torch.tensor([[[1.0, 0.0, 1.0, 1.0]]]).expand(20_000, 1, 4),
    }
    weights = torch.exp(module.actor(batch["obs"][0])) * batch["action_mask"][0, 0]
    counts = torch.bincount(module.forward_exploration(batch)["actions"], minlength=4) / 20_000
    torch.testing.assert_close(counts, weights / weights.sum(), atol=0.02, rtol=0)
    assert (module.forward_inference(batch)["actions"] == weights.argmax()).all()


def test_two_networks_side_by_side():
    twin = Twin(3, [5, 4], 2)
    inputs = torch.randn(6, 7, 3, requires_grad=True)
    outputs = twin(inputs)
    for i in range(2):
        values = inputs
        for layer, (weight, bias) in enumerate(zip(twin.weights, twin.biases, strict=True)):
            values = torch.relu(values) if layer else values
            values = values @ weight[i] + bias[i]
        torch.testing.assert_close(outputs[i], values)
    twin(inputs, frozen=True).sum().backward()
    assert (inputs.grad != 0).any()
    assert all(parameter.grad is None for parameter in twin.parameters())


def test_the_highest_entropy_of_what_is_legal():
    logits, some = torch.randn(5, 2, 4), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    free, bound = Choices(logits, None, (2,)), Choices(logits, some, (2,))
    torch.testing.assert_close(free.highest_entropy(), torch.full((5,), math.log(16)))
    torch.testing.assert_close(bound.highest_entropy(), torch.full((5,), math.log(6)))
    same = Choices(torch.zeros(5, 2, 4), some, (2,))
    torch.testing.assert_close(same.entropy(), same.highest_entropy())
    padding = Choices(logits, torch.zeros(5, 2, 4).bool(), (2,))
    assert (padding.highest_entropy() == 0).all()
    assert padding.entropy().isfinite().all()


def test_what_the_entropy_shall_be():
    for space, expected in (("box", -2.0), ("multi_discrete", 0.3 * math.log(2 * 4))):
        learner = make_learner("sac", space)
        columns = make_sequences(space).columns
        columns.pop("action_mask", None)
        assert loss_terms(learner, Sequences(columns))[1]["target_entropy"] == pytest.approx(
            expected
        )
    learner = make_learner("sac", "box", target_entropy=0.1)
    terms = loss_terms(learner, make_sequences("box"))
    assert terms[1]["target_entropy"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dqn.config(hidden_sizes=[]), r"hidden_sizes is \[\]"),
        (dqn.config(epsilon=2.0), "epsilon is 2.0"),
        (dqn.config(sequence_length=0), "sequence_length is 0"),
        (dqn.config(td_lambda=-0.5), "td_lambda is -0.5"),
        (sac.config(initial_alpha=0.0), "initial_alpha is 0.0"),
        (sac.config(target_entropy="low"), "target_entropy is 'low'"),
        (sac.config(target_entropy=None), "target_entropy is None"),
        (sac.config(hidden_sizes=[8, 0]), r"hidden_sizes is \[8, 0\]"),
        (td3.config(policy_delay=0), "policy_delay is 0"),
        (td3.config(exploration_noise=1.5), "exploration_noise is 1.5"),
        (td3.config(updates_per_step=True), "updates_per_step is True"),
    ],
)
def test_bad_settings_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_only_bounded_boxes_are_played():
    for space, normalize in ((Box(-np.inf, np.inf, (1,)), True), (Box(-1, 1, (1,)), False)):
        config = sac.config().environment(normalize_actions=normalize)
        with pytest.raises(ValueError, match="SAC plays bounded Box spaces"):
            config.get_multi_rl_module_spec(spaces={"shared": (Box(-1, 1, (3,)), space)})
