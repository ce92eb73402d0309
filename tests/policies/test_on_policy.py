"""PPO and A2C without Ray: advantages, and how rows become minibatches."""

import threading

import numpy as np
import pytest
import torch
from on_policy_rows import (
    SPACES,
    TIMESTEPS,
    F,
    L,
    N,
    R,
    batch_of,
    make_learner,
    make_sequences,
    own_policy,
    transitions_of,
)
from ray.rllib.core.learner.training_data import TrainingData

from marlserve.policies.sampling.sequences import Sequences


def acted_of(sequences):
    return sequences["active"][:, :-1] & sequences.valid()[..., None]  # [R, L, N]


def reference(learner, sequences, row, agent, module_id):
    """{t: (advantage, value target)} of one agent's part of a row, in plain Python."""
    config, module = learner.config, learner.module[module_id].unwrapped()
    data = {name: column[row] for name, column in sequences.columns.items()}
    steps = [t for t in range(data["length"]) if data["active"][t, agent]]
    if not steps:
        return {}
    with torch.no_grad():
        seen = torch.as_tensor(data["obs"][:, agent])
        values = module.critic.values(seen).tolist()
    last, result, following = steps[-1], {}, 0.0
    ended = (last == data["length"] - 1 and data["terminated"]) or not data["active"][
        last + 1, agent
    ]
    for t in reversed(steps):
        bootstrap = 0.0 if t == last and ended else values[t + 1]
        error = data["rewards"][t, agent] + config.gamma * bootstrap - values[t]
        following = error + config.gamma * config.lambda_ * following
        result[t] = (following, following + values[t])
    return result


@pytest.mark.parametrize("mapping", [None, own_policy])
@pytest.mark.parametrize(("gamma", "lambda_"), [(0.9, 0.8), (1.0, 1.0), (0.95, 0.0)])
def test_advantages_are_those_of_a_plain_reference(gamma, lambda_, mapping):
    settings = {"normalize_advantages": False, "normalize_values": False}
    learner = make_learner(mapping=mapping, gamma=gamma, lambda_=lambda_, **settings)
    for module in learner.module.values():
        module.critic.network[-1].weight.data *= 100  # values that matter
    sequences = make_sequences()
    for i in range(N) if mapping else [None]:
        agents = range(N) if i is None else [i]
        module_id = "shared" if i is None else f"of_a{i}"
        found = transitions_of(learner, sequences, module_id)
        expected = [
            reference(learner, sequences, row, agent, module_id)[t]
            for row in range(R)
            for agent in agents
            for t in range(L)
            if acted_of(sequences)[row, t, agent]
        ]
        advantages, targets = np.array(expected).T
        np.testing.assert_allclose(found["advantages"], advantages, atol=1e-5)
        np.testing.assert_allclose(found["value_targets"], targets, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_transitions_are_what_agents_saw_and_did(space):
    learner, sequences = make_learner(space=space), make_sequences(space)
    found = transitions_of(learner, sequences)
    acted = np.moveaxis(acted_of(sequences), 2, 1)  # [R, N, L]
    assert len(found["obs"]) == acted.sum() == 64
    for name in {"obs", "actions", "action_logp", "action_mask"} & sequences.columns.keys():
        column = np.moveaxis(sequences[name], 2, 1)[:, :, :L]
        np.testing.assert_array_equal(found[name], column[acted])


def test_padding_and_inactive_agents_do_not_matter():
    clean, noisy = make_sequences(), make_sequences()
    past, gone = ~clean.valid(), ~clean["active"]
    for name in ("rewards", "action_logp"):
        noisy[name][past] = np.nan
        noisy[name][gone[:, :-1]] = np.nan
    noisy["obs"][:, 1:][past] = np.nan
    noisy["obs"][gone] = np.nan
    # What an agent sees when it leaves is an observation like others, only worth nothing.
    noisy["obs"][1, 3, 1], noisy["obs"][4, 1, 2] = 7.0, -7.0
    found, expected = (transitions_of(make_learner(), sequences) for sequences in (noisy, clean))
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)


def test_advantages_are_normalised_over_the_iteration():
    found = transitions_of(make_learner(), make_sequences())
    for name in ("advantages", "value_targets"):
        assert float(found[name].mean()) == pytest.approx(0.0, abs=1e-5)
        assert float(found[name].std(correction=0)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_the_scale_of_rewards_does_not_matter(algorithm):
    def learned(scale):
        learner = make_learner(algorithm)
        torch.nn.init.zeros_(learner.module["shared"].critic.network[-1].weight)
        for seed in range(3):
            sequences = make_sequences(seed=seed)
            sequences["rewards"][:] *= scale
            torch.manual_seed(seed)  # the same minibatches
            learner.update(batch=batch_of(learner, sequences), timesteps=TIMESTEPS)
        return learner.module["shared"]

    one, other = learned(1.0), learned(1e4)
    for left, right in zip(one.actor.parameters(), other.actor.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-3)
    seen = {"obs": torch.randn(9, F)}
    values, scaled = one.compute_values(seen), other.compute_values(seen)
    torch.testing.assert_close(values, scaled / 1e4, atol=1e-4, rtol=1e-3)


def minibatches_of(learner, batch):
    learner.before_gradient_based_update(timesteps=TIMESTEPS)
    return list(learner._create_iterator_if_necessary(training_data=TrainingData(batch=batch)))


def test_each_epoch_deals_every_transition_to_one_minibatch():
    learner = make_learner(num_epochs=3, minibatch_size=10)
    sequences = make_sequences()
    every = transitions_of(learner, sequences)["action_logp"].sort().values
    dealt = minibatches_of(learner, batch_of(learner, sequences))
    assert len(dealt) == 3 * 6
    orders = []
    for epoch in range(3):
        parts = [x.policy_batches["shared"]["action_logp"] for x in dealt[6 * epoch :][:6]]
        assert {len(part) for part in parts} == {10, 11}
        orders.append(torch.cat(parts))
        torch.testing.assert_close(orders[-1].sort().values, every)
    assert not torch.equal(orders[0], orders[1])


def test_learners_with_unequal_shares_run_equally_many_minibatches():
    """Three learners in threads, one of which has no row at all."""
    barrier, given = threading.Barrier(3), {}

    def averaged(numbers):  # in place of the exchange between processes
        given[threading.get_ident()] = numbers
        barrier.wait()
        result = np.mean(list(given.values()), axis=0).tolist()
        barrier.wait()
        return result

    rows, results = [slice(0, 1), slice(1, 6), slice(6, 6)], {}
    learners = [make_learner(mapping=own_policy, minibatch_size=4) for _ in rows]

    def work(i):
        learners[i].averaged = averaged
        sequences = Sequences({k: v[rows[i]] for k, v in make_sequences().columns.items()})
        results[i] = minibatches_of(learners[i], batch_of(learners[i], sequences))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    counts = [len(results[i]) for i in range(3)]
    assert counts == [counts[0]] * 3
    scales = [learner.module["of_a0"].critic.std for learner in learners]
    assert scales[0] == scales[1] == scales[2] != 1.0
    alone = make_learner(mapping=own_policy, minibatch_size=4)
    transitions_of(alone, make_sequences(), "of_a0")
    assert float(alone.module["of_a0"].critic.std) == pytest.approx(float(scales[0]), rel=1e-5)


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_a_learner_without_transitions_changes_nothing(algorithm):
    learner = make_learner(algorithm)
    before = learner.module.get_state()["shared"]
    sequences = make_sequences()
    sequences["active"][:] = False
    result = learner.update(batch=batch_of(learner, sequences), timesteps=TIMESTEPS)
    assert result["shared"]["total_loss"].peek() == 0.0
    after = learner.module.get_state()["shared"]
    for key in before.keys() - {"critic.num_updates"}:
        np.testing.assert_array_equal(after[key], before[key])


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("mapping", [None, own_policy])
def test_every_parameter_learns(algorithm, space, mapping):
    learner = make_learner(algorithm, space, mapping)
    before = learner.module.get_state()
    learner.update(batch=batch_of(learner, make_sequences(space)), timesteps=TIMESTEPS)
    for name, state in learner.module.get_state().items():
        for key, value in state.items():
            assert np.abs(value - before[name][key]).max() > 0, f"{name}.{key} got no gradient"
