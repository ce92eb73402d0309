"""The networks of PPO and A2C: distributions, masks, the critic's scale, and who has a critic."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from torch.distributions import Categorical
from torch.distributions import Normal as TorchNormal

from marlserve.policies.models.action_distributions import Choices, Normal
from marlserve.policies.models.actor_critic import ActorCriticModule, Critic
from marlserve.policies.models.actor_critic_networks import PerComponent, orthogonal_mlp

SEEN = Box(-1, 1, (2, 3))


CONFIG = {"network": "auto", "hidden_sizes": [8, 8], "hidden_size": 8, "embedding_size": 0}


def module_of(action_space, inference_only=False, observation_space=SEEN, **model_config):
    torch.manual_seed(0)
    return ActorCriticModule(
        observation_space=observation_space,
        action_space=action_space,
        model_config=CONFIG | model_config,
        inference_only=inference_only,
    )


def test_choices_are_categorical():
    logits, legal = torch.randn(5, 3, 4), torch.rand(5, 3, 4) < 0.6
    legal[..., 2] = True
    ours = Choices(logits, legal, (3,))
    theirs = Categorical(logits=logits.masked_fill(~legal, -1e30))
    actions = ours.sample()
    torch.testing.assert_close(ours.logp(actions), theirs.log_prob(actions).sum(-1))
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))
    assert legal.gather(-1, ours.mode()[..., None]).all()
    drawn = torch.stack([ours.sample() for _ in range(4000)])
    shares = torch.nn.functional.one_hot(drawn, 4).float().mean(0)
    torch.testing.assert_close(shares, theirs.probs, atol=0.04, rtol=0)
    assert (shares[~legal] == 0).all()


def test_normals_are_independent():
    mean, log_std = torch.randn(6, 4), torch.randn(4)
    ours, theirs = Normal(mean, log_std, (2, 2)), TorchNormal(mean, log_std.exp())
    actions = ours.sample()
    assert actions.shape == ours.mode().shape == (6, 2, 2)
    torch.testing.assert_close(ours.logp(actions), theirs.log_prob(actions.flatten(1)).sum(-1))
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))


@pytest.mark.parametrize(
    "space",
    [
        *(Discrete(4), Box(-1, 1, (2, 2))),  # flat networks
        *(MultiDiscrete([2, 4]), MultiDiscrete([3, 3]), Box(-1, 1, (2,))),  # one per component
    ],
)
def test_what_was_drawn_has_the_probability_that_training_finds(space):
    module, batch = module_of(space), {"obs": torch.randn(7, 2, 3)}
    if not isinstance(space, Box):
        components, values = module._heads
        batch["action_mask"] = (torch.rand(7, components, values) < 0.5).float()
        batch["action_mask"][..., 0] = 1.0
    for acted in (module._forward_exploration(batch), module._forward_inference(batch)):
        actions = acted["actions"]
        assert actions.shape == (7, *space.shape)
        trained = module._forward_train({**batch, "actions": actions})
        torch.testing.assert_close(trained["action_logp"], acted["action_logp"])
        assert trained["vf_preds"].shape == trained["entropy"].shape == (7,)


def test_components_never_leave_their_own_range():
    module = module_of(MultiDiscrete([2, 4]))
    actions = torch.cat(
        [module._forward_exploration({"obs": torch.randn(99, 2, 3)})["actions"] for _ in range(9)]
    )
    assert actions.amax(0).tolist() == [1, 3]


@pytest.mark.parametrize("space", [Discrete(4), MultiDiscrete([4, 4])])
def test_runners_have_no_critic_and_act_alike(space):
    learner, runner = module_of(space), module_of(space, inference_only=True)
    assert not hasattr(runner, "critic")
    state = learner.get_state(inference_only=True)
    assert not any(key.startswith("critic") for key in state)
    runner.set_state(state)
    batch = {"obs": torch.randn(50, 2, 3)}
    ours, theirs = learner._forward_inference(batch), runner._forward_inference(batch)
    np.testing.assert_array_equal(ours["actions"], theirs["actions"])


@pytest.mark.parametrize("per_component", [False, True])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (500.0, 3.0), (-1e-3, 1e-4)])
def test_a_critic_keeps_its_values_while_its_scale_moves(mean, std, per_component):
    torch.manual_seed(0)
    if per_component:
        critic, seen = module_of(MultiDiscrete([2, 2])).critic, torch.randn(20, 2, 3)
    else:
        critic, seen = Critic(orthogonal_mlp(3, [8], 1, last_gain=0.01)), torch.randn(20, 3)
    critic.network[-1].weight.data *= 100
    before = critic.values(seen)
    moments = torch.tensor(mean), torch.tensor(std**2)
    critic.normalise_to(*moments, least_rate=0.1)
    torch.testing.assert_close(critic.values(seen), before, atol=1e-3, rtol=1e-4)
    assert float(critic.mean) == pytest.approx(mean)
    assert float(critic.std) == pytest.approx(std)
    for _ in range(40):
        critic.normalise_to(moments[0] * 3, moments[1] * 4, least_rate=0.5)
    assert float(critic.mean) == pytest.approx(mean * 3, rel=1e-3)
    assert float(critic.std) == pytest.approx(std * 2, rel=1e-2)
    torch.testing.assert_close(critic.values(seen), before, atol=1e-2, rtol=1e-3)


def test_the_first_scales_are_averages():
    critic = Critic(orthogonal_mlp(3, [8], 1, last_gain=0.01))
    for value in (1.0, 2.0, 6.0):
        critic.normalise_to(torch.tensor(value), torch.tensor(0.0), least_rate=0.01)
    assert float(critic.mean) == pytest.approx(3.0)
    assert float(critic.std) == pytest.approx(np.std([1, 2, 6]))


@pytest.mark.parametrize(
    "space", [MultiBinary(3), MultiDiscrete([[2, 2]]), Box(0, 5, (), np.int64)]
)
def test_other_action_spaces_are_refused(space):
    with pytest.raises(ValueError, match="actors play Discrete, flat MultiDiscrete and Box"):
        module_of(space)


def test_other_observation_spaces_are_refused():
    with pytest.raises(ValueError, match="the observation space is Dict"):
        module_of(Discrete(2), observation_space=Dict({"a": SEEN}))


@pytest.mark.parametrize("space", [MultiDiscrete([3] * 5), Box(-1, 1, (5,))])
def test_permuted_components_are_played_as_they_were(space):
    observed, order = torch.randn(7, 5, 4), torch.randperm(5)
    shape = Box(-1, 1, (5, 4))
    module = module_of(space, observation_space=shape)
    actions = module._forward_inference({"obs": observed})["actions"]
    permuted = {"obs": observed[:, order]}
    torch.testing.assert_close(module._forward_inference(permuted)["actions"], actions[:, order])
    values = module.compute_values({"obs": observed})
    assert values.std() > 0
    torch.testing.assert_close(module.compute_values(permuted), values)
    told_apart = module_of(space, observation_space=shape, embedding_size=2)
    alike = {"obs": torch.ones(1, 5, 4)}
    outputs = told_apart.actor(alike["obs"]).reshape(5, -1)
    assert not torch.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize(
    ("network", "space", "per_component"),
    [
        ("auto", MultiDiscrete([3, 3]), True),
        ("auto", MultiDiscrete([3, 3, 3]), False),
        ("auto", Discrete(2), True),  # of which it chooses one
        ("auto", Discrete(3), False),
        ("flat", MultiDiscrete([3, 3]), False),
        ("per_component", Box(-1, 1, (2,)), True),
    ],
)
def test_the_network_follows_the_shapes(network, space, per_component):
    module = module_of(space, network=network)
    assert isinstance(module.actor, PerComponent) is per_component
    at_first = module.actor(torch.ones(1, 2, 3) if per_component else torch.ones(1, 6))
    assert at_first.abs().max() < 0.1  # all actions begin alike


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"needs observations \[M, F\]"):
        module_of(Discrete(4), network="per_component")
    with pytest.raises(ValueError, match="network is 'round'; allowed are"):
        module_of(Discrete(2), network="round")
