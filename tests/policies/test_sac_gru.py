"""Recurrent SAC without Ray: its gradients, its memory, its distributions, its settings."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from off_policy_rows import (
    HIDDEN_SIZE,
    learner_of,
    make_learner,
    make_sequences,
)
from on_policy_rows import N, R, batch_of

from marlserve.policies import sac_gru
from marlserve.policies.models.action_distributions import Choices
from marlserve.policies.models.sac_gru import SACGRUModule
from marlserve.policies.models.soft_actor_critic import _lesser
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv
from marlserve.policies.sampling.runner import VectorEnvRunner

SERVERS = Box(-9, 9, (5, 3))  # M = 5 components, F = 3


@pytest.mark.parametrize("space", ["discrete", "multi_discrete", "box"])
def test_burn_in_steps_carry_no_gradient(space):
    learner, sequences = make_learner("sac_gru", space, burn_in=2), make_sequences("sac_gru", space)
    batch = learner._convert_batch_type(batch_of(learner, sequences)).policy_batches
    observations = batch["shared"]["obs"].requires_grad_()
    outputs = learner.module.forward_train(batch)
    learner.compute_losses(fwd_out=outputs, batch=batch)["shared"].backward()
    gradient = observations.grad.abs().sum(-1).unflatten(0, (R, N)).sum(1)  # [R, L + 1]
    first, long = torch.as_tensor(sequences["first"]), torch.as_tensor(sequences["length"]) > 2
    assert (gradient[~first, :2] == 0).all()
    assert (gradient[~first & long, 2] > 0).all()
    assert (gradient[first, 0] > 0).all()
    assert all(
        p.grad is not None
        for n, p in learner.module["shared"].named_parameters()
        if "target" not in n
    )


@pytest.mark.parametrize("space", ["discrete", "box"])
def test_the_actors_loss_does_not_move_the_critics_nor_the_reverse(space):
    learner, sequences = make_learner("sac_gru", space), make_sequences("sac_gru", space)
    batch = learner._convert_batch_type(batch_of(learner, sequences)).policy_batches
    module = learner.module["shared"].unwrapped()
    for names, other in ((("value", "entropy"), module.critics), (("chosen",), module.actor)):
        outputs = learner.module.forward_train(batch)["shared"]
        module.zero_grad()
        sum(outputs[name].sum() for name in names).backward()
        assert all(p.grad is None or (p.grad == 0).all() for p in other.parameters())
        assert not any(outputs[name].requires_grad for name in ("next", "next_entropy"))


def test_the_temperature_may_have_a_learning_rate_of_its_own():
    for alpha_lr, expected in ((None, 0.003), (0.1, 0.1), ([[0, 0.2], [9, 0.1]], 0.2)):
        learner = learner_of("sac_gru", "discrete", lr=0.003, alpha_lr=alpha_lr)
        rates = {
            name: learner.get_optimizer("shared", name).param_groups[0]["lr"]
            for name in ("critics", "actor", "alpha")
        }
        assert rates == {"critics": 0.003, "actor": 0.003, "alpha": expected}


def runner_of(toy, **kwargs):
    config = (
        sac_gru.config(hidden_size=8, sequence_length=4)
        .environment(PettingZooEnv, env_config={"maker": toy, "kwargs": kwargs})
        .env_runners(num_envs_per_env_runner=1)
        .debugging(seed=0)
    )
    return VectorEnvRunner(config=config, worker_index=0)


@torch.no_grad()
def test_the_hidden_states_of_rows_are_those_of_the_learners_unroll():
    runner = runner_of("toys:Counting", length=10)
    (rows,) = runner.sample(num_timesteps=20, explore=False)
    module = runner.module["shared"]
    assert rows["length"].tolist() == [4, 4, 2] * 2
    assert rows["first"].tolist() == [True, False, False] * 2
    assert (rows["hidden"][rows["first"]] == 0).all()
    for row in range(len(rows)):
        hidden = torch.as_tensor(rows["hidden"][row])
        seen = torch.as_tensor(rows["obs"][row, : rows["length"][row]])
        outputs, hidden = module.actor(seen, hidden)
        greedy = outputs.squeeze(-2).argmax(-1)
        np.testing.assert_array_equal(rows["actions"][row, : len(seen)], greedy)
        if row + 1 < len(rows) and not rows["first"][row + 1]:
            np.testing.assert_allclose(rows["hidden"][row + 1], hidden, atol=1e-6)


def module_of(action_space, **settings):
    model_config = {
        "network": "auto",
        "hidden_size": 8,
        "use_gru": True,
        "embedding_size": 0,
        "initial_alpha": 0.1,
        "burn_in": 0,
    }
    module = SACGRUModule(
        observation_space=SERVERS,
        action_space=action_space,
        inference_only=False,
        model_config=model_config | settings,
    )
    module.make_target_networks()
    return module


@pytest.mark.parametrize("use_gru", [True, False])
@pytest.mark.parametrize("network", ["flat", "per_component"])
@pytest.mark.parametrize("space", [MultiDiscrete([4] * 5), Box(0, 1, (5,))], ids=["levels", "box"])
def test_servers_have_a_choice_or_a_number_each(space, network, use_gru):
    module = module_of(space, network=network, use_gru=use_gru)
    batch, time = {"obs": torch.randn(7, *((1,) if use_gru else ()), 5, 3)}, (1,) if use_gru else ()
    if use_gru:
        state = module.get_initial_state()["h"]
        assert state.shape == ((5, 8) if network == "per_component" else (8,))
        batch["state_in"] = {"h": state.expand(7, *state.shape)}
    for outputs in (module.forward_inference(batch), module.forward_exploration(batch)):
        assert outputs["actions"].shape == (7, *time, 5)
        assert ("state_out" in outputs) == use_gru == module.is_stateful()
    if network == "flat":
        return
    order = torch.randperm(5)
    actions = module.forward_inference(batch)["actions"]
    rows = {
        "obs": torch.randn(6, 3, 5, 3),
        "actions": actions[:6].reshape(6, 1, 5).expand(6, 2, 5),
        "first": torch.ones(6).bool(),
    }
    if use_gru:
        batch["state_in"] = {"h": batch["state_in"]["h"][:, order]}
        rows["hidden"] = torch.zeros(6, 5, 8)
    moved = {**batch, "obs": batch["obs"][..., order, :]}
    torch.testing.assert_close(module.forward_inference(moved)["actions"], actions[..., order])
    shuffled = {**rows, "obs": rows["obs"][..., order, :], "actions": rows["actions"][..., order]}
    chosen = [module.forward_train(x)["chosen"] for x in (rows, shuffled)]
    assert chosen[0].shape == (2, 6, 2)
    torch.testing.assert_close(*chosen)


def test_components_are_drawn_by_their_legal_probabilities():
    module = make_learner("sac_gru", "multi_discrete").module["shared"]
    number, mask = 20_000, torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1]]).bool()
    batch = {
        "obs": torch.randn(1, 1, 4).expand(number, 1, 4),
        "action_mask": mask.float().expand(number, 1, 2, 4),
        "state_in": {"h": torch.zeros(number, HIDDEN_SIZE)},
    }
    outputs, _ = module.actor(batch["obs"][:1], torch.zeros(1, HIDDEN_SIZE))
    weights = torch.exp(outputs[0, 0]) * mask
    drawn = module.forward_exploration(batch)["actions"][:, 0]
    for component in range(2):
        counts = torch.bincount(drawn[:, component], minlength=4) / number
        expected = weights[component] / weights[component].sum()
        torch.testing.assert_close(counts, expected, atol=0.02, rtol=0)
    assert (module.forward_inference(batch)["actions"] == weights.argmax(-1)).all()


def test_critics_may_divide_a_value_among_components_as_they_like():
    policy = Choices(torch.randn(6, 2, 4), None, (2,))
    values = torch.randn(2, 6, 2, 4)
    expected = policy.mean(values).amin(0)
    torch.testing.assert_close(_lesser(policy, values), expected)
    moved = values + torch.tensor([[3.0, -3.0], [-5.0, 5.0]])[:, None, :, None]
    torch.testing.assert_close(_lesser(policy, moved), expected)
    alone = Choices(torch.randn(6, 1, 4), None, ())
    less = alone.mean(values[:, :, :1].amin(0))
    torch.testing.assert_close(_lesser(alone, values[:, :, :1]), less)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"embedding_size": -1}, "embedding_size is -1"),
        ({"network": "wide"}, "network is 'wide'"),
        ({"burn_in": 16}, "burn_in is 16; it must be less than sequence_length"),
        ({"initial_alpha": -1.0}, "initial_alpha is -1.0"),
        ({"target_entropy": "none"}, "target_entropy is 'none'"),
        ({"alpha_lr": "fast"}, r"Invalid `alpha_lr` \(fast\)"),
        ({"alpha_lr": 0.0}, "alpha_lr is 0.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sac_gru.config(**settings).validate()
    with pytest.raises(ValueError, match=r"no setting \[.hidden_sizes.\]"):
        sac_gru.config(hidden_sizes=[8])


def test_spaces_that_do_not_fit_are_refused():
    unbounded = {"shared": (SERVERS, Box(-np.inf, np.inf, (5,)))}
    with pytest.raises(ValueError, match="SACGRU plays bounded Box spaces"):
        sac_gru.config().get_multi_rl_module_spec(spaces=unbounded)
    with pytest.raises(ValueError, match="network is 'per_component', which needs observations"):
        module_of(Box(0, 1, (4,)), network="per_component")
