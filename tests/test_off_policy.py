"""DQN, SAC and TD3 without Ray: targets, losses, delayed actors, temperatures, many updates."""

import math

import numpy as np
import on_policy_rows
import pytest
import torch
from on_policy_rows import TIMESTEPS, N, R, batch_of, make_sequences, own_policy

from marlserve.policies.sampling.sequences import Sequences

CASES = [("dqn", "discrete"), ("sac", "discrete"), ("sac", "box"), ("td3", "box")]
GAMMA = 0.9


def make_learner(algorithm, space, **training):
    return on_policy_rows.make_learner(algorithm, space, **{"updates_per_step": 1} | training)


def learner_of(algorithm, space, **training):
    """A learner whose target networks differ from the networks."""
    learner = make_learner(algorithm, space, gamma=GAMMA, **training)
    with torch.no_grad():
        for module in learner._with_targets():
            for _, target in module.get_target_network_pairs():
                for parameter in target.parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return learner


def loss_terms(learner, sequences):
    """The loss, and what was logged of it."""
    batch = learner._convert_batch_type(batch_of(learner, sequences)).policy_batches
    outputs = learner.module.forward_train(batch)
    loss = learner.compute_losses(fwd_out=outputs, batch=batch)["shared"]
    logged = learner.metrics.peek("shared")
    return loss.item(), {name: float(value) for name, value in logged.items()}


def steps_of(sequences):
    """Every (row, step, agent) in which the agent acted, from the end of each row backwards."""
    for row, agent in np.ndindex(R, N):
        for t in reversed(range(int(sequences["length"][row]))):
            if sequences["active"][row, t, agent]:
                yield row, t, agent


def returns_of(sequences, td_lambda, next_value, bonus):
    """Targets step by step: {(row, t, agent): value}; both functions are of (row, t + 1, agent)."""
    targets = {}
    for row, t, agent in steps_of(sequences):
        leaves = not sequences["active"][row, t + 1, agent]
        end = t == sequences["length"][row] - 1
        target = float(sequences["rewards"][row, t, agent])
        if not leaves and not (end and sequences["terminated"][row]):
            following = next_value(row, t + 1, agent)
            if not end:
                later = targets[row, t + 1, agent]
                following = (1 - td_lambda) * following + td_lambda * later
            target += GAMMA * (following + bonus(row, t + 1, agent))
        targets[row, t, agent] = target
    return targets


def observed(sequences, row, t, agent):
    return torch.as_tensor(sequences["obs"][row, t, agent])


def legal(sequences, row, t, agent):
    return np.flatnonzero(sequences["action_mask"][row, t, agent, 0])


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("td_lambda", [0.0, 0.7, 1.0])
@torch.no_grad()
def test_the_loss_of_dqn_is_that_of_a_plain_reference(td_lambda, double_q):
    learner = learner_of("dqn", "discrete", td_lambda=td_lambda, double_q=double_q)
    module, sequences = learner.module["shared"], make_sequences("discrete")

    def next_value(*step):
        target = module.target(observed(sequences, *step))
        chooser = module.network(observed(sequences, *step)) if double_q else target
        return float(target[max(legal(sequences, *step), key=lambda a: chooser[a])])

    targets = returns_of(sequences, td_lambda, next_value, lambda *step: 0.0)
    losses = []
    for step, target in targets.items():
        values = module.network(observed(sequences, *step))
        error = abs(float(values[sequences["actions"][step]]) - target)
        losses.append(0.5 * error**2 if error < 1 else error - 0.5)
    assert loss_terms(learner, sequences)[0] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("td_lambda", [0.0, 0.7])
@torch.no_grad()
def test_the_losses_of_discrete_sac_are_those_of_a_plain_reference(td_lambda):
    learner = learner_of("sac", "discrete", td_lambda=td_lambda, initial_alpha=0.5)
    module, sequences = learner.module["shared"], make_sequences("discrete")

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
    mean_entropy = np.mean([entropy(*step) for step in targets])
    alpha = math.log(0.5) * (mean_entropy - 0.3 * math.log(4))
    assert logged["critic_loss"] == pytest.approx(np.mean(critic), rel=1e-4)
    assert logged["actor_loss"] == pytest.approx(np.mean(actor), rel=1e-4)
    assert loss == pytest.approx(np.mean(critic) + np.mean(actor) + alpha, rel=1e-4)


@torch.no_grad()
def test_the_critics_loss_of_td3_is_that_of_a_plain_reference():
    learner = learner_of("td3", "box", target_noise=0.0)
    module, sequences = learner.module["shared"], make_sequences("box")

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
    clean, noisy = make_sequences(space), make_sequences(space)
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
    sequences = make_sequences(space)
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
        learner.update(batch=batch_of(learner, make_sequences()), timesteps=TIMESTEPS)


def actor_and_its_optimizer(learner):
    module = learner.module["shared"].unwrapped()
    moments = learner._get_optimizer_state()["shared_actor"]["state"]["state"]
    return [p.detach().clone().numpy() for p in module.actor.parameters()], moments


@pytest.mark.parametrize("grad_clip", [None, 0.5])
def test_the_actor_of_td3_waits_for_its_turn(grad_clip):
    learner = make_learner("td3", "box", policy_delay=3, grad_clip=grad_clip)
    batch = batch_of(learner, make_sequences("box"))
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


@pytest.mark.parametrize("space", ["discrete", "box"])
def test_the_temperature_moves_entropy_towards_its_target(space):
    batch = None
    for target_entropy, sign in ((-20.0, -1), (20.0, 1)):
        learner = make_learner("sac", space, target_entropy=target_entropy, lr=0.01)
        batch = batch_of(learner, make_sequences(space))
        for _ in range(5):
            learner.update(batch=batch, timesteps=TIMESTEPS)
        log_alpha = learner.module["shared"].log_alpha.item()
        assert sign * log_alpha == pytest.approx(0.05, rel=0.01)
    restored = make_learner("sac", space, target_entropy=20.0, lr=0.01, seed=1)
    restored.set_state(learner.get_state())
    for each in (learner, restored):
        torch.manual_seed(0)
        each.update(batch=batch, timesteps=TIMESTEPS)
    assert restored.module["shared"].log_alpha == learner.module["shared"].log_alpha
