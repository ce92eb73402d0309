"""The losses of PPO and A2C against formulas written out, their schedules and their settings."""

import numpy as np
import pytest
import torch
from on_policy_rows import SPACES, TIMESTEPS, batch_of, make_learner, make_sequences, transitions_of

from marlserve import policies

n = 40
RANDOM = np.random.default_rng(0)
OLD, NEW = RANDOM.normal(-1, 0.3, (2, n))
ADVANTAGES, VALUES, OLD_VALUES, TARGETS = RANDOM.normal(0, 1, (4, n))


def of_minibatch(learner, name):
    """A loss on the made-up minibatch, and its gradient by the new log-probabilities and values."""
    logp = torch.tensor(NEW, requires_grad=True)
    values = torch.tensor(VALUES, requires_grad=True)
    batch = {
        "action_logp": torch.tensor(OLD),
        "advantages": torch.tensor(ADVANTAGES),
        "value_targets": torch.tensor(TARGETS),
        "old_values": torch.tensor(OLD_VALUES),
    }
    loss = getattr(learner, name)(learner.config, batch, {"action_logp": logp, "vf_preds": values})
    loss = loss["policy_loss"] if isinstance(loss, dict) else loss
    loss.backward()
    return loss.item(), (logp.grad if name == "policy_loss" else values.grad).numpy()


def test_the_surrogate_has_no_gradient_beyond_the_clip():
    loss, gradient = of_minibatch(make_learner("ppo", clip_param=0.2), "policy_loss")
    ratio = np.exp(NEW - OLD)
    gains = [min(r * a, min(max(r, 0.8), 1.2) * a) for r, a in zip(ratio, ADVANTAGES, strict=True)]
    assert loss == pytest.approx(-np.mean(gains))
    beyond = ((ratio > 1.2) & (ADVANTAGES > 0)) | ((ratio < 0.8) & (ADVANTAGES < 0))
    assert 0 < beyond.sum() < n
    np.testing.assert_allclose(gradient, np.where(beyond, 0, -ratio * ADVANTAGES / n), atol=1e-12)


def test_a2c_follows_the_policy_gradient():
    loss, gradient = of_minibatch(make_learner("a2c"), "policy_loss")
    assert loss == pytest.approx(-np.mean(NEW * ADVANTAGES))
    np.testing.assert_allclose(gradient, -ADVANTAGES / n, atol=1e-12)


@pytest.mark.parametrize(("algorithm", "limit"), [("ppo", 0.3), ("ppo", None), ("a2c", None)])
def test_values_move_towards_their_targets(algorithm, limit):
    settings = {} if limit is None else {"vf_clip_param": limit}
    loss, gradient = of_minibatch(make_learner(algorithm, **settings), "value_loss")
    near = VALUES
    if limit is not None:
        near = OLD_VALUES + np.clip(VALUES - OLD_VALUES, -limit, limit)
    error, near_error = (VALUES - TARGETS) ** 2, (near - TARGETS) ** 2
    assert loss == pytest.approx(0.5 * np.maximum(error, near_error).mean())
    free = error >= near_error
    assert free.all() == (limit is None)
    expected = np.where(free, (VALUES - TARGETS) / n, 0)
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
@pytest.mark.parametrize("space", SPACES)
def test_the_first_step_is_along_the_policy_gradient(algorithm, space):
    """Where the new policy is the old one, the surrogate's gradient is the policy gradient too."""
    learner = make_learner(algorithm, space, entropy_coeff=0.02, vf_loss_coeff=0.3)
    found = transitions_of(learner, make_sequences(space))
    module = learner.module["shared"]
    out = module.forward_train(found)
    found["action_logp"] = out["action_logp"].detach()
    loss = learner.compute_loss_for_module(
        module_id="shared", config=learner.config, batch=found, fwd_out=out
    )
    again = module.forward_train(found)
    expected = (
        -(again["action_logp"] * found["advantages"]).mean()
        + 0.3 * 0.5 * (again["vf_preds"] - found["value_targets"]).square().mean()
        - 0.02 * again["entropy"].mean()
    )
    parameters = list(module.parameters())
    for one, other in zip(
        torch.autograd.grad(loss, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_epochs_stop_where_the_policy_has_moved_enough():
    def epochs(**training):
        learner = make_learner(num_epochs=8, minibatch_size=16, lr=0.01, **training)
        sequences = make_sequences()
        # As the policy that acted: what the rows say of it is made up.
        found = transitions_of(learner, sequences)
        with torch.no_grad():
            logp = learner.module["shared"].forward_train(found)["action_logp"]
        acted = sequences["active"][:, :-1] & sequences.valid()[..., None]
        np.moveaxis(sequences["action_logp"], 2, 1)[np.moveaxis(acted, 2, 1)] = logp
        learner.update(batch=batch_of(learner, sequences), timesteps=TIMESTEPS)
        return len(learner._terms["shared", "kl"]) / 4

    assert epochs(kl_target=None) == 8
    assert epochs(kl_target=1e-9) == 1
    assert 1 < epochs(kl_target=0.03) < 8


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_schedules_are_followed(algorithm):
    learner = make_learner(
        algorithm, lr=[[0, 1e-3], [100, 0.0]], entropy_coeff=[[0, 0.1], [100, 0.0]]
    )
    batch = batch_of(learner, make_sequences())
    result = learner.update(batch=batch, timesteps={"num_env_steps_sampled_lifetime": 50})
    assert result["shared"]["entropy_coeff"].peek() == pytest.approx(0.05)
    assert "teacher_coeff" not in result["shared"]  # there is no teacher
    for optimizer in learner._named_optimizers.values():
        assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("algorithm", "training", "message"),
    [
        ("ppo", {"clip_param": 0.0}, "clip_param is 0.0"),
        ("ppo", {"vf_clip_param": -1.0}, "vf_clip_param is -1.0"),
        ("ppo", {"kl_target": 0.0}, "kl_target is 0.0"),
        ("ppo", {"num_epochs": 0}, "num_epochs is 0"),
        ("ppo", {"minibatch_size": 2.5}, "minibatch_size is 2.5"),
        ("ppo", {"lambda_": 1.5}, "lambda_ is 1.5"),
        ("ppo", {"gamma": -0.1}, "gamma is -0.1"),
        ("ppo", {"hidden_sizes": [64, 0]}, r"hidden_sizes is \[64, 0\]"),
        ("ppo", {"network": "round"}, "network is 'round'; allowed are"),
        ("ppo", {"hidden_size": 0}, "hidden_size is 0; it must be at least 1"),
        ("a2c", {"embedding_size": -1}, "embedding_size is -1; it must be at least 0"),
        ("ppo", {"vf_loss_coeff": -1.0}, "vf_loss_coeff is -1.0"),
        ("ppo", {"entropy_coeff": [[5, 0.1], [9, 0.0]]}, "first timestep must be 0"),
        ("ppo", {"train_batch_size_per_learner": 100}, "give 4096 steps"),
        ("a2c", {"num_epochs": 2}, "num_epochs is 2; A2C takes one gradient step"),
        ("a2c", {"minibatch_size": 64}, "minibatch_size is 64; A2C takes one gradient step"),
    ],
)
def test_bad_settings_are_refused(algorithm, training, message):
    with pytest.raises(ValueError, match=message):
        policies.config(algorithm, **training).validate()


def test_a_batch_size_decides_the_fragment_if_so_asked():
    config = policies.config("ppo", train_batch_size_per_learner=2048)
    config.env_runners(rollout_fragment_length="auto", num_envs_per_env_runner=16)
    config.validate()
    assert config.get_rollout_fragment_length() == config.sequence_length == 128
    config.env_runners(num_envs_per_env_runner=16, num_env_runners=2).learners(num_learners=2)
    assert config.get_rollout_fragment_length(1) == config.sequence_length == 128
    config.env_runners(batch_mode="complete_episodes")
    with pytest.raises(ValueError, match="batch_mode is 'complete_episodes'"):
        config.validate()
    auto = policies.config("ppo").env_runners(rollout_fragment_length="auto")
    with pytest.raises(ValueError, match="train_batch_size_per_learner must tell; it is None"):
        auto.validate()
