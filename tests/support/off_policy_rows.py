"""Rows of made-up steps, learners of off-policy algorithms to feed them to, and plain targets."""

import numpy as np
import on_policy_rows
import torch
from on_policy_rows import N, R, batch_of

from marlserve.policies.sampling.sequences import Sequences

GAMMA = 0.9
HIDDEN_SIZE = 8


def make_sequences(algorithm, space) -> Sequences:
    """Those of `on_policy_rows`, with hidden states for an algorithm that has them."""
    sequences = on_policy_rows.make_sequences(space)
    if algorithm == "sac_gru":
        hidden = np.random.default_rng(1).uniform(-1, 1, (R, N, HIDDEN_SIZE)).astype(np.float32)
        hidden[sequences["first"]] = 0.0
        sequences.columns["hidden"] = hidden
    return sequences


def make_learner(algorithm, space, **training):
    sizes = {"updates_per_step": 1}
    if algorithm == "sac_gru":
        sizes |= {"hidden_size": HIDDEN_SIZE, "sequence_length": on_policy_rows.L, "burn_in": 2}
    return on_policy_rows.make_learner(algorithm, space, **sizes | training)


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
