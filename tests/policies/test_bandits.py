"""How contextual bandits learn, and their settings, without Ray."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from on_policy_rows import TIMESTEPS, N, batch_of, make_learner, make_sequences, own_policy
from toy_bandits import KINDS

from marlserve import policies
from marlserve.policies.training.bandit_learner import rounds_by_policy

EVERYONE = {"shared": np.arange(N)}


def learner_of(kind, **training):
    """A learner that has absorbed some rounds."""
    name, settings = KINDS[kind]
    learner = make_learner(name, updates_per_step=1, **settings, **training)
    rounds = rounds_by_policy(make_sequences(seed=1), EVERYONE)
    learner.absorb(rounds, forget=False)
    learner.conclude(rounds, 0.5, 2.0)
    return learner


def loss_of(learner, sequences):
    batch = learner._convert_batch_type(batch_of(learner, sequences)).policy_batches
    outputs = learner.module.forward_train(batch)
    return learner.compute_losses(fwd_out=outputs, batch=batch)["shared"]


def done(sequences):
    """Every (observation, arm, reward) of an active agent."""
    for row, length in enumerate(sequences["length"]):
        for t, agent in np.ndindex(int(length), N):
            if sequences["active"][row, t, agent]:
                place = (row, t, agent)
                seen = torch.as_tensor(sequences["obs"][place])
                yield seen, int(sequences["actions"][place]), float(sequences["rewards"][place])


@pytest.mark.parametrize("coef", [0.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_squared_error_and_the_variance(kind, coef):
    learner, sequences = learner_of(kind, uncertainty_coef=coef), make_sequences()
    module = learner.module["shared"]
    terms = []
    for seen, arm, reward in done(sequences):
        error = module.networks[0](seen)[arm].item() - reward
        uncertainty = module.beliefs(seen[None])[1][0, arm].item()
        terms.append(error**2 + coef * uncertainty**2)
    assert loss_of(learner, sequences).item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_several_networks_learn_each_by_itself_and_are_seen_together():
    learner, sequences = learner_of("neural_linear", num_networks=3), make_sequences()
    module = learner.module["shared"]
    squares = [
        [(network(seen)[arm].item() - reward) ** 2 for network in module.networks]
        for seen, arm, reward in done(sequences)
    ]
    loss = loss_of(learner, sequences)
    assert loss.item() == pytest.approx(np.sum(np.mean(squares, axis=0)), rel=1e-4)
    loss.backward()
    assert all(x.grad.abs().sum() > 0 for x in module.networks.parameters())
    seen = torch.stack([seen for seen, *_ in done(sequences)])
    hidden = [network[:-1](seen) for network in module.networks]
    parts = [x / x.norm(dim=1, keepdim=True) / 3**0.5 for x in hidden]
    expected = torch.cat([*parts, torch.ones(len(seen), 1)], 1)
    found = module.features(seen[:, None]).squeeze(1)
    torch.testing.assert_close(found, expected)
    assert not torch.equal(hidden[0], hidden[1])
    assert module.confidence.inverse.shape[-1] == found.shape[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_variance_has_the_gradient_of_finite_differences(kind):
    """A is constant in it."""
    learner, sequences = learner_of(kind, uncertainty_coef=100.0), make_sequences()
    weight = learner.module["shared"].networks[0][0].weight
    loss_of(learner, sequences).backward()
    at = np.unravel_index(weight.grad.abs().argmax(), weight.shape)
    losses = []
    with torch.no_grad():
        for step in (1e-3, -2e-3):
            weight[at] += step
            losses.append(loss_of(learner, sequences).item())
    assert weight.grad[at] == pytest.approx((losses[0] - losses[1]) / 2e-3, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_counted_does_not_depend_on_how_it_is_handed_over(kind):
    name, settings = KINDS[kind]
    learner = make_learner(name, **settings)
    first, second = (rounds_by_policy(make_sequences(seed=seed), EVERYONE) for seed in (1, 2))
    pairs = zip(first["shared"], second["shared"], strict=True)
    both = {"shared": tuple(np.concatenate(pair) for pair in pairs)}
    learner.absorb(both, forget=False)
    learner.conclude(both, 0.5, 2.0)
    at_once = learner.get_state()
    learner.absorb(first, forget=True)
    learner.absorb(second, forget=False)
    learner.conclude(second, 0.5, 2.0)
    for name, value in learner.get_state()["rl_module"]["shared"].items():
        expected = at_once["rl_module"]["shared"][name]
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    # Or else env runners would ignore what a learner without updates has counted.
    assert learner.get_state()["weights_seq_no"] > at_once["weights_seq_no"] > 0


def test_only_what_agents_did_is_counted_for_the_policy_that_plays_them():
    sequences = make_sequences()
    learner = make_learner("neural_linear", mapping=own_policy)
    rounds = rounds_by_policy(sequences, {f"of_a{i}": np.array([i]) for i in range(N)})
    learner.absorb(rounds, forget=False)
    for agent in range(N):
        precision = learner.module[f"of_a{agent}"].confidence.precision
        acted = sequences["active"][:, :-1, agent] & sequences.valid()
        counts = np.bincount(sequences["actions"][:, :, agent][acted], minlength=4)
        np.testing.assert_allclose(precision[:, -1, -1] - 1.0, counts)  # of the constant feature


def test_metrics_are_in_standard_deviations_of_the_reward():
    learner = learner_of("neural_linear")
    rounds = rounds_by_policy(make_sequences(seed=1), EVERYONE)
    observations, arms, rewards = rounds["shared"]
    metrics = learner.conclude(rounds, 0.5, 2.0)["shared"]
    means, uncertainties = learner.module["shared"].beliefs(torch.as_tensor(observations))
    means, uncertainties = (x.numpy()[np.arange(len(arms)), arms] for x in (means, uncertainties))
    expected = {
        "value_mean": means.mean(),
        "value_error_abs": np.abs(means - (rewards - 0.5) / 2.0).mean(),
        "uncertainty_mean": uncertainties.mean(),
    }
    assert metrics == pytest.approx(expected, rel=1e-4)


def test_weights_decay():
    """By the learning rate times weight_decay in each update, beside what the loss does."""
    weights = {}
    for decay in (0.0, 0.5):
        learner = make_learner(
            "neural_ucb", updates_per_step=1, weight_decay=decay, lr=0.1, standardize_rewards=False
        )
        before = learner.module["shared"].networks[0][0].weight.detach().clone()
        learner.update(batch=batch_of(learner, make_sequences()), timesteps=TIMESTEPS)
        weights[decay] = learner.module["shared"].networks[0][0].weight.detach()
    torch.testing.assert_close(weights[0.5], weights[0.0] - 0.05 * before)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("neural_ucb", {"covariance": "none"}, r"covariance is 'none'; allowed are \('diagonal'"),
        ("neural_linear", {"num_networks": 0}, "num_networks is 0"),
        *(
            (name, settings, message)
            for name in ("neural_linear", "neural_ucb")
            for settings, message in (
                ({"hidden_sizes": [0]}, r"hidden_sizes is \[0\]"),
                ({"ucb_beta": -1.0}, "ucb_beta is -1.0; it must be at least 0"),
                ({"ridge": 0.0}, "ridge is 0.0; it must be more than 0"),
                ({"weight_decay": float("inf")}, "weight_decay is inf"),
                ({"uncertainty_coef": -0.1}, "uncertainty_coef is -0.1"),
                ({"rebuild_every": 0}, "rebuild_every is 0"),
                ({"episodes_per_update": 0}, "episodes_per_update is 0"),
                ({"episodes_per_update": 48}, "is 48; it must be a multiple of 32"),
                ({"sequence_length": 4}, "sequence_length is 4; it must be 1"),
            )
        ),
    ],
)
def test_bad_settings_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        policies.config(name, **settings).validate()


def test_rounds_per_update_make_the_steps_per_sample():
    config = policies.config("neural_ucb", episodes_per_update=96)
    config.env_runners(num_env_runners=2, num_envs_per_env_runner=8).validate()
    assert config.get_rollout_fragment_length() == 6
    config.env_runners(rollout_fragment_length=5)
    with pytest.raises(ValueError, match="is 96; rollout_fragment_length 5 makes it 80"):
        config.validate()
    evaluation = config.env_runners(rollout_fragment_length=6).get_evaluation_config_object()
    evaluation.env_runners(num_envs_per_env_runner=7).validate()


def test_observations_that_do_not_fit_the_arms_are_refused():
    def spec(name, shape, **settings):
        spaces = {"shared": (Box(-1, 1, shape), Discrete(4))}
        return policies.config(name, **settings).get_multi_rl_module_spec(spaces=spaces)

    for name in ("neural_linear", "neural_ucb"):
        with pytest.raises(ValueError, match=r"shape \(3, 7\), but there are 4 arms"):
            spec(name, (3, 7))
    with pytest.raises(ValueError, match=r"'shared' has 4932 weights; .* allows 1000"):
        spec("neural_ucb", (7,), hidden_sizes=[64, 64], covariance="full")
    for shape in ((7,), (4, 7), (2, 2, 2)):
        found = spec("neural_ucb", shape, hidden_sizes=[16], covariance="full")
        assert set(found.rl_module_specs) == {"shared"}
