"""Off-policy learners without Ray: targets, losses, delayed actors, temperatures, many updates."""

import math

import numpy as np
import pytest
import torch
from off_policy_rows import (
    learner_of,
    legal,
    loss_terms,
    make_learner,
    make_sequences,
    observed,
    returns_of,
)
from on_policy_rows import TIMESTEPS, R, batch_of, own_policy

from marlserve.policies.sampling.sequences import Sequences

pytestmark = pytest.mark.slow

CASES = [
    ("dqn", "discrete"),
    ("sac", "discrete"),
    ("sac", "multi_discrete"),
    ("sac", "box"),
    ("td3", "box"),
    ("sac_gru", "discrete"),
    ("sac_gru", "multi_discrete"),
    ("sac_gru", "box"),
]


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("td_lambda", [0.0, 0.7, 1.0])
@torch.no_grad()
def test_the_loss_of_dqn_is_that_of_a_plain_reference(td_lambda, double_q):
    learner = learner_of("dqn", "discrete", td_lambda=td_lambda, double_q=double_q)
    module, sequences = learner.module["shared"], make_sequences("dqn", "discrete")

    def next_value(*step):
        target = module.target(observed(sequences, *step)[None])[0]
        chooser = module.network(observed(sequences, *step)[None])[0] if double_q else target
        return float(target[max(legal(sequences, *step), key=lambda a: chooser[a])])

    targets = returns_of(sequences, td_lambda, next_value, lambda *step: 0.0)
    losses = []
    for step, target in targets.items():
        values = module.network(observed(sequences, *step)[None])[0]
        error = abs(float(values[sequences["actions"][step]]) - target)
        losses.append(0.5 * error**2 if error < 1 else error - 0.5)
    assert loss_terms(learner, sequences)[0] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("td_lambda", [0.0, 0.7])
@torch.no_grad()
def test_the_losses_of_discrete_sac_are_those_of_a_plain_reference(td_lambda):
    learner = learner_of("sac", "discrete", td_lambda=td_lambda, initial_alpha=0.5)
    module, sequences = learner.module["shared"], make_sequences("sac", "discrete")

    def choices(step):
        """The legal actions, and their probabilities."""
        actions = legal(sequences, *step)
        weights = torch.exp(module.actor(observed(sequences, *step)))[actions].numpy()
        return actions, weights / weights.sum()

    def value(critics, *step):
        actions, shares = choices(step)
        lesser = critics(observed(sequences, *step)).numpy().min(0)[actions]
        return float((shares * lesser).sum())

    def entropy(*step):
        shares = choices(step)[1]
        return float(-(shares * np.log(shares)).sum())

    targets = returns_of(
        sequences,
        td_lambda,
        lambda *step: value(module.target_critics, *step),
        lambda *step: 0.5 * entropy(*step),
    )
    critic, actor = [], []
    for step, target in targets.items():
        both = module.critics(observed(sequences, *step)).numpy()[:, sequences["actions"][step]]
        critic.append(((both - target) ** 2).sum())
        actor.append(-value(module.critics, *step) - 0.5 * entropy(*step))
    loss, logged = loss_terms(learner, sequences)
    # A share of what the legal actions allow: where only one is, nothing can be asked.
    excess = [entropy(*step) - 0.3 * math.log(len(legal(sequences, *step))) for step in targets]
    alpha = math.log(0.5) * np.mean(excess)
    assert logged["critic_loss"] == pytest.approx(np.mean(critic), rel=1e-4)
    assert logged["actor_loss"] == pytest.approx(np.mean(actor), rel=1e-4)
    assert loss == pytest.approx(np.mean(critic) + np.mean(actor) + alpha, rel=1e-4)


@torch.no_grad()
def test_the_critics_loss_of_td3_is_that_of_a_plain_reference():
    learner = learner_of("td3", "box", target_noise=0.0)
    module, sequences = learner.module["shared"], make_sequences("td3", "box")

    def next_value(*step):
        seen = observed(sequences, *step)
        return float(module.target_critics(torch.cat([seen, module.target_actor(seen)])).min())

    targets = returns_of(sequences, 0.0, next_value, lambda *step: 0.0)
    losses = []
    for step, target in targets.items():
        action = torch.as_tensor(sequences["actions"][step])
        both = module.critics(torch.cat([observed(sequences, *step), action])).squeeze(-1)
        losses.append(((both.numpy() - target) ** 2).sum())
    assert loss_terms(learner, sequences)[0] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize(("algorithm", "space"), CASES)
def test_padding_and_inactive_agents_do_not_matter(algorithm, space):
    learner = learner_of(algorithm, space, td_lambda=0.7)
    clean, noisy = make_sequences(algorithm, space), make_sequences(algorithm, space)
    past, gone = ~clean.valid(), ~clean["active"]
    noisy["obs"][:, 1:][past] = 7.0
    noisy["obs"][gone] = 7.0
    for over in (past, gone[:, :-1]):
        noisy["rewards"][over] = 1e3
        noisy["actions"][over] = 1
    losses = []
    for sequences in (clean, noisy):
        torch.manual_seed(3)
        losses.append(loss_terms(learner, sequences)[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("mapping", [None, own_policy])
@pytest.mark.parametrize(("algorithm", "space"), CASES)
def test_many_updates_in_one_call_are_that_many_calls(algorithm, space, mapping):
    """Bit by bit, with target networks that follow after every single one."""
    settings = {"mapping": mapping, "tau": 0.5, "target_network_update_freq": 1, "lr": 0.01}
    sequences = make_sequences(algorithm, space)
    at_once = make_learner(algorithm, space, updates_per_step=3, **settings)
    one_by_one = make_learner(algorithm, space, **settings)
    torch.manual_seed(5)
    at_once.update(batch=batch_of(at_once, sequences), timesteps=TIMESTEPS)
    torch.manual_seed(5)
    for part in range(3):
        rows = slice(part * R // 3, (part + 1) * R // 3)
        some = Sequences({name: column[rows] for name, column in sequences.columns.items()})
        one_by_one.update(batch=batch_of(one_by_one, some), timesteps=TIMESTEPS)
    first, expected = make_learner(algorithm, space, **settings), one_by_one.module.get_state()
    for module_id, state in at_once.module.get_state().items():
        for name, value in state.items():
            np.testing.assert_array_equal(value, expected[module_id][name])
            assert (value != first.module.get_state()[module_id][name]).any(), name


def test_rows_that_the_updates_cannot_share_are_refused():
    learner = make_learner("dqn", "discrete", updates_per_step=4)
    with pytest.raises(ValueError, match="policy 'shared' has 18 rows, which 4 updates"):
        learner.update(
            batch=batch_of(learner, make_sequences("dqn", "discrete")), timesteps=TIMESTEPS
        )


def actor_and_its_optimizer(learner):
    module = learner.module["shared"].unwrapped()
    moments = learner._get_optimizer_state()["shared_actor"]["state"]["state"]
    return [p.detach().clone().numpy() for p in module.actor.parameters()], moments


@pytest.mark.parametrize("grad_clip", [None, 0.5])
def test_the_actor_of_td3_waits_for_its_turn(grad_clip):
    learner = make_learner("td3", "box", policy_delay=3, grad_clip=grad_clip)
    batch = batch_of(learner, make_sequences("td3", "box"))
    for update in range(1, 8):
        if update == 5:  # the turn is saved with the learner
            state, learner = learner.get_state(), make_learner("td3", "box", policy_delay=3)
            learner.set_state(state)
        before = actor_and_its_optimizer(learner)
        critics = [p.clone() for p in learner.module["shared"].critics.parameters()]
        learner.update(batch=batch, timesteps=TIMESTEPS)
        after = actor_and_its_optimizer(learner)
        for old, new in zip(before[0], after[0], strict=True):
            assert (old != new).any() == (update % 3 == 0)
        if update % 3:
            assert before[1].keys() == after[1].keys()
            for index, moments in before[1].items():
                for name, value in moments.items():
                    np.testing.assert_array_equal(after[1][index][name], value)
        for old, new in zip(critics, learner.module["shared"].critics.parameters(), strict=True):
            assert (old != new).any()


@pytest.mark.parametrize(("algorithm", "space"), [x for x in CASES if x[0].startswith("sac")])
def test_the_temperature_moves_entropy_towards_its_target(algorithm, space):
    batch, settings = None, {"lr": 0.01, "initial_alpha": 1.0}
    for target_entropy, sign in ((-20.0, -1), (20.0, 1)):
        learner = make_learner(algorithm, space, target_entropy=target_entropy, **settings)
        batch = batch_of(learner, make_sequences(algorithm, space))
        for _ in range(5):
            learner.update(batch=batch, timesteps=TIMESTEPS)
        log_alpha = learner.module["shared"].log_alpha.item()
        assert sign * log_alpha == pytest.approx(0.05, rel=0.01)
    restored = make_learner(algorithm, space, target_entropy=20.0, seed=1, **settings)
    restored.set_state(learner.get_state())
    for each in (learner, restored):
        torch.manual_seed(0)
        each.update(batch=batch, timesteps=TIMESTEPS)
    assert restored.module["shared"].log_alpha == learner.module["shared"].log_alpha
