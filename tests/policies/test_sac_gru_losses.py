"""The losses of recurrent SAC on made-up rows are those of a plain reference, step by step."""

import math

import numpy as np
import pytest
import torch
from off_policy_rows import (
    HIDDEN_SIZE,
    learner_of,
    loss_terms,
    make_sequences,
    observed,
    returns_of,
)
from on_policy_rows import N, R


class Plain:
    """The features of every step, [row, agent][t], one step after another in plain Python."""

    def __init__(self, learner, sequences):
        self.module, self.sequences = learner.module["shared"].unwrapped(), sequences
        self.burn_in = learner.config.burn_in
        self.memories, self.cache = {}, {}

    def of(self, name, row, t, agent):
        """`name` is "actor", or (critics or target critics, 0 or 1)."""
        key = (name, row, agent)
        if key not in self.cache:
            self.cache[key] = self._row(name, row, agent)
        return self.cache[key][t]

    def _row(self, name, row, agent):
        first, features = self.sequences["first"][row], []
        hidden = torch.zeros(1, HIDDEN_SIZE)
        if name == "actor":
            network, hidden = (
                self.module.actor,
                torch.as_tensor(self.sequences["hidden"][row, agent])[None],
            )
        else:
            critics = getattr(self.module, name[0])
            network = critics.pair[name[1]]
            self.of("actor", row, 0, agent)
        for t in range(self.sequences["obs"].shape[1]):
            if t == self.burn_in and not first:
                if name == "actor":
                    self.memories[row, agent] = hidden
                else:
                    weight = critics.memories[name[1]].weight
                    hidden = torch.tanh(self.memories[row, agent] @ weight.T)
            seen = observed(self.sequences, row, t, agent)[None]
            gates = network.memory
            inputs = torch.relu(network.encoder(seen)) @ gates.weight_ih_l0.T + gates.bias_ih_l0
            own = hidden @ gates.weight_hh_l0.T + gates.bias_hh_l0
            (r, z, n), (r_own, z_own, n_own) = inputs.chunk(3, -1), own.chunk(3, -1)
            z = torch.sigmoid(z + z_own)
            hidden = (1 - z) * torch.tanh(n + torch.sigmoid(r + r_own) * n_own) + z * hidden
            features.append(hidden[0])
        return features


def counted(targets, sequences, burn_in):
    return [step for step in targets if sequences["first"][step[0]] or step[1] >= burn_in]


@pytest.mark.parametrize("space", ["discrete", "multi_discrete"])
@pytest.mark.parametrize(("td_lambda", "burn_in"), [(0.0, 0), (0.7, 2)])
@torch.no_grad()
def test_the_losses_of_choices_are_those_of_a_plain_reference(space, td_lambda, burn_in):
    learner = learner_of("sac_gru", space, td_lambda=td_lambda, burn_in=burn_in, initial_alpha=0.5)
    sequences = make_sequences("sac_gru", space)
    plain = Plain(learner, sequences)
    components = sequences["action_mask"].shape[3]

    def heads(name, *step):
        network = plain.module.actor
        if name != "actor":
            network = getattr(plain.module, name[0]).pair[name[1]]
        return network.head(plain.of(name, *step)).reshape(components, -1).numpy()

    def choices(step):
        """For each component, the legal values and their probabilities."""
        logits, masks = heads("actor", *step), sequences["action_mask"][step]
        for component, mask in zip(logits, masks, strict=True):
            weights = np.exp(component[mask])
            yield np.flatnonzero(mask), weights / weights.sum()

    def value(critics, *step):
        both = [heads((critics, i), *step) for i in range(2)]
        parts = [
            [(shares * values[h][some]).sum() for h, (some, shares) in enumerate(choices(step))]
            for values in both
        ]
        if components > 1:
            return float(min(sum(part) for part in parts))
        ((some, shares),) = choices(step)
        return float((shares * np.minimum(both[0][0], both[1][0])[some]).sum())

    def entropy(*step):
        return float(-sum((shares * np.log(shares)).sum() for _, shares in choices(step)))

    targets = returns_of(
        sequences,
        td_lambda,
        lambda *step: value("target_critics", *step),
        lambda *step: 0.5 * entropy(*step),
    )
    critic, actor, excess = [], [], []
    for step in counted(targets, sequences, burn_in):
        done = np.atleast_1d(sequences["actions"][step])
        for i in range(2):
            chosen = heads(("critics", i), *step)[np.arange(components), done].sum()
            critic.append(2 * (chosen - targets[step]) ** 2)
        actor.append(-value("critics", *step) - 0.5 * entropy(*step))
        most = sum(math.log(len(some)) for some, _ in choices(step))
        excess.append(entropy(*step) - 0.3 * most)
    loss, logged = loss_terms(learner, sequences)
    assert logged["critic_loss"] == pytest.approx(np.mean(critic), rel=1e-4)
    assert logged["actor_loss"] == pytest.approx(np.mean(actor), rel=1e-4)
    expected = np.mean(critic) + np.mean(actor) + math.log(0.5) * np.mean(excess)
    assert loss == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_the_losses_of_numbers_are_those_of_a_plain_reference():
    learner = learner_of("sac_gru", "box", initial_alpha=0.5)
    sequences, size = make_sequences("sac_gru", "box"), 2
    plain, shape = Plain(learner, sequences), (R * N, sequences.num_steps, size)
    torch.manual_seed(3)
    noises = [torch.randn(shape), torch.randn(shape)]  # of this step's actions, and the next one's

    def drawn(noise, row, t, agent, at):
        """The action of noise [row, at], and the log of its density."""
        outputs = plain.module.actor.head(plain.of("actor", row, t, agent)).reshape(size, 2)
        log_std = -5 + 3.5 * (torch.tanh(outputs[:, 1]) + 1)
        z = noise[row * N + agent, at]
        action = torch.tanh(outputs[:, 0] + log_std.exp() * z)
        density = torch.distributions.Normal(0, 1).log_prob(z) - log_std
        return action, float((density - torch.log(1 - action.square() + 1e-12)).sum())

    def values(critics, action, *step):
        heads = [network.head for network in getattr(plain.module, critics).pair]
        found = [plain.of((critics, i), *step)[None] for i in range(2)]
        return [float(head(x, action[None])) for head, x in zip(heads, found, strict=True)]

    def following(row, t, agent):
        return drawn(noises[1], row, t, agent, t - 1)

    targets = returns_of(
        sequences,
        0.0,
        lambda *step: min(values("target_critics", following(*step)[0], *step)),
        lambda *step: -0.5 * following(*step)[1],
    )
    critic, actor = [], []
    for step in counted(targets, sequences, burn_in=2):
        done = torch.as_tensor(sequences["actions"][step])
        critic.append(sum((x - targets[step]) ** 2 for x in values("critics", done, *step)))
        own, logp = drawn(noises[0], *step, step[1])
        actor.append(0.5 * logp - min(values("critics", own, *step)))
    torch.manual_seed(3)
    _, logged = loss_terms(learner, sequences)
    assert logged["critic_loss"] == pytest.approx(np.mean(critic), rel=1e-3)
    assert logged["actor_loss"] == pytest.approx(np.mean(actor), rel=1e-3)
