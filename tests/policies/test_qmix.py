"""QMIX without Ray: its targets and its gradients."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from recalling import own_policy

from marlserve.policies import qmix
from marlserve.policies.sampling.runner import MIXER
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.session import quiet
from marlserve.policies.training.qmix_learner import QMIXLearner, learner_batch
from marlserve.policies.training.rewards import RewardStandardizer

quiet()
R, L, N, M, A, S = 6, 5, 3, 2, 4, 3  # rows, steps, agents, components, values, state size
TIMESTEPS = {"num_env_steps_sampled_lifetime": 0}


def make_learner(mapping=None, action_space=None, **training) -> QMIXLearner:
    observation_space = Box(-9, 9, (M, 3))
    action_space = action_space or MultiDiscrete([A] * M)
    agents = [f"a{i}" for i in range(N)]
    joint = tuple(
        Dict(OrderedDict((agent, space) for agent in agents))
        for space in (observation_space, action_space)
    )
    sizes = {"hidden_size": 8, "sequence_length": L, "updates_per_step": 1}
    config = qmix.config(**sizes | {"grad_clip": None} | training)
    names = ["shared"]
    if mapping is not None:
        names = [mapping(agent) for agent in agents]
        config.multi_agent(policies=set(names), policy_mapping_fn=mapping)
    config.validate()
    spaces = {
        INPUT_ENV_SPACES: joint,
        INPUT_ENV_SINGLE_SPACES: joint,
        MIXER: (Box(-9, 9, (S,)), None),
        **dict.fromkeys(names, (observation_space, action_space)),
    }
    learner = QMIXLearner(config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces))
    learner.build()
    return learner


def make_sequences(seed=0, components=(M,), hidden=(M, 8)) -> Sequences:
    """Rows of several lengths; some terminated; some agents leave; some actions are illegal."""
    random = np.random.default_rng(seed)
    length = np.array([5, 5, 3, 1, 4, 5])
    active = np.ones((R, L + 1, N), bool)
    active[1, 3:, 1] = False
    active[4, 1:, 2] = False
    mask = random.random((R, L + 1, N, M, A)) < 0.7
    mask[..., 0] = True
    if not components:
        mask = mask[:, :, :, :1]
    return Sequences(
        {
            "obs": random.normal(size=(R, L + 1, N, M, 3)).astype(np.float32),
            "state": random.normal(size=(R, L + 1, S)).astype(np.float32),
            "action_mask": mask,
            "active": active,
            "actions": random.integers(A, size=(R, L, N, *components)),
            "rewards": random.normal(size=(R, L, N)).astype(np.float32),
            "terminated": np.array([True, False, True, True, False, False]),
            "length": length,
            "first": np.array([True, True, False, True, False, False]),
            "hidden": random.normal(size=(R, N, *hidden)).astype(np.float32),
        }
    )


def groups_of(learner):
    names = [name for name in learner.module.keys() if name != MIXER]  # noqa: SIM118
    if names == ["shared"]:
        return {"shared": np.arange(N)}
    return {f"of_a{i}": np.array([i]) for i in range(N)}


def tensors(learner, sequences):
    batch = learner_batch(sequences, groups_of(learner))
    return learner._convert_batch_type(batch).policy_batches


def reference_targets(learner, sequences, row, agent_module):
    """Targets of one row, step by step in plain Python: {t: value}, or {(t, i, h): value}."""
    config, data = learner.config, {name: col[row] for name, col in sequences.columns.items()}
    length = int(data["length"])
    with torch.no_grad():
        following = {}
        for t in range(1, length + 1):
            best = np.zeros((N, M))
            for i in range(N):
                module = learner.module[agent_module(i)].unwrapped()
                seen = torch.as_tensor(data["obs"][: t + 1, i])[:, None]
                hidden = torch.as_tensor(data["hidden"][i])[None]
                online = module.network(seen, hidden)[0][-1, 0]
                target = module.target(seen, hidden)[0][-1, 0]
                for h in range(M):
                    legal = [a for a in range(A) if data["action_mask"][t, i, h, a]]
                    chooser = online if config.double_q else target
                    choice = max(legal, key=lambda a: float(chooser[h, a]))
                    best[i, h] = float(target[h, choice]) * data["active"][t, i]
            if config.mixer == "qmix":
                mixer = learner.module[MIXER].unwrapped().target
                flat = torch.as_tensor(best.ravel(), dtype=torch.float32)
                state = torch.as_tensor(data["state"][t])
                following[t] = float(mixer(flat[None, None], state[None, None]))
            elif config.mixer == "vdn":
                following[t] = best.sum()
            else:
                following[t] = best

    def bootstrap(t, value):
        return (
            following[t]
            if t == length
            else ((1 - config.td_lambda) * following[t] + config.td_lambda * value)
        )

    targets, value = {}, None
    for t in reversed(range(length)):
        goes_on = 0.0 if t == length - 1 and data["terminated"] else 1.0
        acting = data["active"][t]
        if config.mixer == "none":
            reward = np.repeat(data["rewards"][t][:, None], M, 1)
            goes_on = goes_on * np.repeat(data["active"][t + 1][:, None], M, 1)
        else:
            reward = data["rewards"][t][acting].sum() / N
        value = reward + config.gamma * goes_on * bootstrap(t + 1, value)
        counts = t >= (0 if data["first"] else config.burn_in)
        if config.mixer != "none":
            if counts:
                targets[t] = value
        elif counts:
            for i, h in np.ndindex(N, M):
                if acting[i]:
                    targets[t, i * M + h] = value[i, h]
    return targets


@pytest.mark.parametrize("mapping", [None, own_policy])
@pytest.mark.parametrize(
    ("mixer", "td_lambda", "double_q", "burn_in"),
    [
        ("qmix", 0.0, True, 0),
        ("qmix", 0.6, True, 2),
        ("qmix", 1.0, False, 0),
        ("vdn", 0.6, True, 1),
        ("none", 0.0, False, 0),
        ("none", 0.6, True, 2),
    ],
)
def test_targets_are_those_of_a_plain_reference(mixer, td_lambda, double_q, burn_in, mapping):
    torch.manual_seed(1)
    learner = make_learner(
        mapping, mixer=mixer, td_lambda=td_lambda, double_q=double_q, burn_in=burn_in, gamma=0.9
    )
    for module in learner._with_targets():
        for _, target in module.get_target_network_pairs():
            for parameter in target.parameters():
                parameter.data += 0.3 * torch.randn_like(parameter)
    sequences = make_sequences()
    batch = tensors(learner, sequences)
    targets, weights = learner._targets(batch[MIXER], learner.module.forward_train(batch)[MIXER])
    counted = 0
    for row in range(R):
        expected = reference_targets(
            learner, sequences, row, lambda i: own_policy(f"a{i}") if mapping else "shared"
        )
        for (t, *head), value in ((np.atleast_1d(k), v) for k, v in expected.items()):
            where = (t, row, *head)
            assert float(targets[where]) == pytest.approx(value, abs=1e-4)
            assert float(weights[where]) == 1.0
        counted += len(expected)
    assert float(weights.sum()) == counted


@pytest.mark.parametrize("mixer", ["qmix", "vdn", "none"])
@pytest.mark.parametrize("use_gru", [True, False])
def test_every_agent_learns_from_its_own_values(mixer, use_gru):
    learner = make_learner(own_policy, mixer=mixer, use_gru=use_gru)
    before = learner.module.get_state()
    sequences = make_sequences()
    if not use_gru:
        del sequences.columns["hidden"]
    learner.update(batch=learner_batch(sequences, groups_of(learner)), timesteps=TIMESTEPS)
    for name, state in learner.module.get_state().items():
        for key, value in state.items():
            moved = np.abs(value - before[name][key]).max()
            if key.startswith("target"):
                assert moved == 0.0
            else:
                assert moved > 0.0, f"{name}.{key} got no gradient"


@pytest.mark.parametrize("agent", range(N))
def test_a_chosen_value_depends_on_its_own_agent_only(agent):
    learner = make_learner(own_policy, mixer="none")
    batch = tensors(learner, make_sequences())
    chosen = learner.module.forward_train(batch)[MIXER]["chosen"][0].unflatten(-1, (N, M))
    learner.module[f"of_a{agent}"].network.head.bias.data += 1.0
    moved = learner.module.forward_train(batch)[MIXER]["chosen"][0].unflatten(-1, (N, M)) - chosen
    expected = torch.zeros(R, N, M)
    expected[:, agent] = 1.0
    torch.testing.assert_close(moved, expected)


def test_padding_and_inactive_agents_do_not_matter():
    learner = make_learner(mixer="qmix", td_lambda=0.6)

    def loss(sequences):
        batch = tensors(learner, sequences)
        outputs = learner.module.forward_train(batch)
        return learner.compute_losses(fwd_out=outputs, batch=batch)[MIXER].item()

    clean, noisy = make_sequences(), make_sequences()
    past = ~clean.valid()
    noisy["rewards"][past] = 1e3
    noisy["actions"][past] = A - 1
    noisy["state"][:, 1:][past] = 50.0
    gone = ~clean["active"]
    noisy["obs"][:, 1:][past] = 7.0
    noisy["obs"][gone] = 7.0
    noisy["rewards"][gone[:, :-1]] = 1e3
    assert loss(noisy) == pytest.approx(loss(clean), rel=1e-5)


def test_a_reward_given_to_all_counts_once():
    learner = make_learner(mixer="vdn", td_lambda=0.0, gamma=0.0)
    sequences = make_sequences()
    sequences["rewards"][:] = 5.0
    batch = tensors(learner, sequences)
    targets, weights = learner._targets(batch[MIXER], learner.module.forward_train(batch)[MIXER])
    acting = torch.as_tensor(sequences["active"][:, :-1].mean(-1), dtype=torch.float32).T  # [T, R]
    assert (acting < 1).any()  # who is gone earns nothing: the others' share stays what it was
    torch.testing.assert_close(targets[weights > 0], 5.0 * acting[weights > 0])


def test_discrete_actions_have_one_component():
    learner = make_learner(action_space=Discrete(A))
    sequences = make_sequences(components=(), hidden=(8,))
    result = learner.update(batch=learner_batch(sequences, groups_of(learner)), timesteps=TIMESTEPS)
    assert np.isfinite(result[MIXER]["total_loss"].peek())


def test_the_gradient_is_clipped_over_all_modules_together():
    learner = make_learner(own_policy, grad_clip=0.01)
    batch = tensors(learner, make_sequences())
    outputs = learner.module.forward_train(batch)
    gradients = learner.compute_gradients(learner.compute_losses(fwd_out=outputs, batch=batch))
    clipped = learner.postprocess_gradients(gradients)
    norm = torch.stack([gradient.norm() for gradient in clipped.values()]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("tau", "freq"), [(1.0, 3), (0.1, 1)])
def test_targets_follow_the_networks(tau, freq):
    learner = make_learner(tau=tau, target_network_update_freq=freq, lr=0.01)
    module = learner.module["shared"]
    expected = [p.clone() for p in module.target.parameters()]
    for update in range(1, 7):
        batch = learner_batch(make_sequences(update), groups_of(learner))
        learner.update(batch=batch, timesteps=TIMESTEPS)
        if update % freq == 0:
            online = module.network.parameters()
            expected = [
                tau * p.detach() + (1 - tau) * e for p, e in zip(online, expected, strict=True)
            ]
        for target, value in zip(module.target.parameters(), expected, strict=True):
            torch.testing.assert_close(target, value)


def test_the_learning_rate_follows_its_schedule():
    learner = make_learner(lr=[[0, 1e-3], [100, 0.0]])
    batch = learner_batch(make_sequences(), groups_of(learner))
    learner.update(batch=batch, timesteps={"num_env_steps_sampled_lifetime": 50})
    for optimizer in learner._named_optimizers.values():
        assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(5e-4)


def test_rewards_are_standardised_over_all_that_was_sampled():
    standardizer, rewards = RewardStandardizer(), []
    for seed in range(3):
        sequences = make_sequences(seed)
        standardizer.observe(sequences)
        acted = sequences["active"][:, :-1] & sequences.valid()[..., None]
        rewards.append(sequences["rewards"][acted])
    rewards = np.concatenate(rewards)
    applied = standardizer.apply(sequences)
    expected = (sequences["rewards"] - rewards.mean()) / rewards.std()
    np.testing.assert_allclose(applied["rewards"], np.where(acted, expected, 0), rtol=1e-4)
    (again := RewardStandardizer()).set_state(standardizer.get_state())
    np.testing.assert_array_equal(again.apply(sequences)["rewards"], applied["rewards"])
