"""The modules of bandits and their confidence against plain formulas, without Ray."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from toy_bandits import KINDS

from marlserve.policies.models.diagonal_confidence import DiagonalConfidence
from marlserve.policies.models.full_confidence import FullConfidence
from marlserve.policies.models.neural_linear import NeuralLinearModule
from marlserve.policies.models.neural_ucb import NeuralUCBModule

K, D, HIDDEN, RIDGE = 4, 5, [6, 7], 0.7
MEAN, DEVIATION = 2.0, 3.0  # of the rewards
MODULES = {"neural_linear": NeuralLinearModule, "neural_ucb": NeuralUCBModule}
CASES = [(kind, per_arm) for kind in KINDS for per_arm in (False, True)]


def make_module(kind, per_arm=False, seed=0, inference_only=False, **config):
    torch.manual_seed(seed)
    name, settings = KINDS[kind]
    return MODULES[name](
        observation_space=Box(-9, 9, (K, D) if per_arm else (D,)),
        action_space=Discrete(K),
        inference_only=inference_only,
        model_config={
            "hidden_sizes": HIDDEN,
            "num_networks": 1,
            "ucb_beta": 1.5,
            "ridge": RIDGE,
            "uncertainty_coef": 0.0,
            "standardize_contexts": True,
            **settings,
            **config,
        },
    ).eval()


def rounds(per_arm, number, seed=1):
    """Observations, arms and rewards."""
    random = np.random.default_rng(seed)
    contexts = random.normal(size=(number, K, D) if per_arm else (number, D))
    arms = random.integers(K - 1, size=number)  # the last one is never tried
    return (
        torch.as_tensor(contexts, dtype=torch.float32),
        torch.as_tensor(arms),
        torch.as_tensor(random.normal(MEAN, DEVIATION, number), dtype=torch.float32),
    )


class Reference:
    """The module's formulas, one round and one arm at a time."""

    def __init__(self, module, kind, per_arm):
        self.module, self.kind, self.per_arm = module, kind, per_arm
        size = len(self.phi(torch.zeros(K, D) if per_arm else torch.zeros(D), 0))
        self.own = not per_arm and kind == "neural_linear"
        self.a = {arm: RIDGE * np.eye(size) for arm in (range(K) if self.own else [0])}
        self.b = {arm: np.zeros(size) for arm in self.a}

    def phi(self, observation, arm):
        context = observation[arm] if self.per_arm else observation
        network = self.module.networks[0]
        if self.kind == "neural_linear":
            hidden = context.numpy().astype(float)
            for layer in (network[0], network[2]):
                weight, bias = (x.detach().numpy() for x in (layer.weight, layer.bias))
                hidden = np.maximum(weight @ hidden + bias, 0.0)
            return np.append(hidden / np.linalg.norm(hidden).clip(1e-12), 1.0)
        with torch.enable_grad():
            output = network(context)[0 if self.per_arm else arm]
            weights = list(network.parameters())
            gradients = torch.autograd.grad(output, weights)
        return torch.cat([x.flatten() for x in gradients]).numpy() / np.sqrt(HIDDEN[-1])

    def add(self, observation, arm, reward):
        phi, key = self.phi(observation, int(arm)), int(arm) if self.own else 0
        self.a[key] = self.a[key] + np.outer(phi, phi)
        self.b[key] = self.b[key] + phi * (float(reward) - MEAN) / DEVIATION

    def beliefs(self, observation):
        """Mean and uncertainty of each arm."""
        means, uncertainties = [], []
        for arm in range(K):
            phi, key = self.phi(observation, arm), arm if self.own else 0
            a = np.diag(np.diag(self.a[key])) if self.kind == "diagonal" else self.a[key]
            mean = phi @ np.linalg.solve(a, self.b[key])
            if self.kind != "neural_linear":
                context = observation[arm] if self.per_arm else observation
                mean = self.module.networks[0](context)[0 if self.per_arm else arm].item()
            means.append(mean)
            uncertainties.append(np.sqrt(phi @ np.linalg.solve(a, phi)))
        return np.array(means), np.array(uncertainties)


def taught(kind, per_arm, number=30, **config):
    """A module and the reference, both of which were shown the same rounds."""
    module = make_module(kind, per_arm, **config)
    observations, arms, rewards = rounds(per_arm, number)
    for part in (slice(0, 11), slice(11, None)):
        module.absorb(observations[part], arms[part], rewards[part])
    module.confidence.solve(MEAN, DEVIATION)
    reference = Reference(module, kind, per_arm)
    for observation, arm, reward in zip(observations, arms, rewards, strict=True):
        reference.add(observation, arm, reward)
    return module, reference


@pytest.mark.parametrize(("kind", "per_arm"), CASES)
def test_means_and_uncertainties_are_those_of_plain_formulas(kind, per_arm):
    module, reference = taught(kind, per_arm)
    queries = rounds(per_arm, 5, seed=2)[0]
    means, uncertainties = module.beliefs(queries)
    for query, mean, uncertainty in zip(queries, means, uncertainties, strict=True):
        expected = reference.beliefs(query)
        np.testing.assert_allclose(mean, expected[0], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(uncertainty, expected[1], rtol=1e-3)


@pytest.mark.parametrize(("kind", "per_arm"), CASES)
def test_each_row_chooses_by_its_own_context_and_by_the_choices_before_it(kind, per_arm):
    """Zero rounds of delay for the covariance, and masks that differ from row to row."""
    module, reference = taught(kind, per_arm)
    queries = rounds(per_arm, 16, seed=3)[0]
    queries[6:10] = queries[5]  # alike, so that only earlier choices tell these rows apart
    mask = torch.rand(16, 1, K) < 0.7
    mask[:, :, 1], mask[5:10] = True, True
    actions = module._forward_exploration({"obs": queries, "action_mask": mask.float()})["actions"]
    greedy = module._forward_inference({"obs": queries, "action_mask": mask.float()})["actions"]
    means = [reference.beliefs(query)[0] for query in queries]
    for row, query in enumerate(queries):
        scores = means[row] + 1.5 * reference.beliefs(query)[1]
        legal = np.where(mask[row, 0], 0.0, -np.inf)
        assert actions[row] == np.argmax(scores + legal), row
        assert greedy[row] == np.argmax(means[row] + legal), row
        reference.add(query, actions[row], 0.0)
    assert len(set(greedy.tolist())) > 1
    assert (actions != greedy).any()


def test_a_diagonal_is_all_there_is_where_features_are_orthogonal():
    """A linear network's gradient is its context: one-hot ones give a diagonal A."""
    random = np.random.default_rng(0)
    contexts = torch.eye(D)[random.integers(D, size=40)].unsqueeze(1)  # [R, 1, D]
    arms = torch.as_tensor(random.integers(K, size=40))
    errors = torch.eye(K)[arms].unsqueeze(1)
    rewards = torch.zeros(40)
    diagonal = DiagonalConfidence([(K, D)], RIDGE)
    diagonal.add([(errors, contexts)], arms, rewards)
    of_gradients, per_arm = FullConfidence(K * D, 1, RIDGE), FullConfidence(D, K, RIDGE)
    of_gradients.add((errors[..., None] * contexts[..., None, :]).flatten(-2), arms, rewards)
    per_arm.add(contexts, arms, rewards)
    seen, every_arm = torch.eye(D).unsqueeze(1), torch.eye(K).expand(D, K, K)
    gradients = (every_arm[..., None] * seen[..., None, :]).flatten(-2)
    expected = diagonal.variances([(every_arm, seen)])
    for confidence, features in ((of_gradients, gradients), (per_arm, seen)):
        confidence.solve(0.0, 1.0)
        torch.testing.assert_close(confidence.variances(features), expected)


def test_rows_that_know_nothing_try_all_arms():
    module = make_module("neural_linear")
    context = torch.randn(1, D).expand(12, D)
    actions = module._forward_exploration({"obs": context})["actions"]
    assert torch.bincount(actions, minlength=K).tolist() == [3, 3, 3, 3]
    mask = torch.tensor([[[0.0, 1.0, 0.0, 1.0]]]).expand(12, 1, K)
    actions = module._forward_exploration({"obs": context, "action_mask": mask})["actions"]
    assert torch.bincount(actions, minlength=K).tolist() == [0, 6, 0, 6]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_play_has_no_bonus(kind):
    queries = rounds(False, 50, seed=4)[0]
    chosen = {}
    for beta in (0.0, 1e6):
        module = taught(kind, False, ucb_beta=beta)[0]
        greedy = module._forward_inference({"obs": queries})["actions"]
        chosen[beta] = module._forward_exploration({"obs": queries})["actions"]
        assert (greedy == module.beliefs(queries)[0].argmax(-1)).all()
        assert (chosen[beta] == greedy).all() == (beta == 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_rewards_does_not_matter(kind):
    module, _ = taught(kind, False)
    observations, arms, rewards = rounds(False, 30)
    scaled = make_module(kind)
    scaled.absorb(observations, arms, 1e-3 * rewards + 500.0)
    scaled.confidence.solve(1e-3 * MEAN + 500.0, 1e-3 * DEVIATION)
    for one, other in zip(module.beliefs(observations), scaled.beliefs(observations), strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.02)  # the rewards are float32


@pytest.mark.parametrize(("kind", "per_arm"), CASES)
def test_what_acts_elsewhere_acts_alike(kind, per_arm):
    """Sums stay with the learner, in float64."""
    module, _ = taught(kind, per_arm)
    queries = rounds(per_arm, 40, seed=5)[0]
    again, actor = make_module(kind, per_arm, 1), make_module(kind, per_arm, 2, inference_only=True)
    again.set_state(module.get_state())
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
        assert again.state_dict()[name].dtype == value.dtype
    actor.set_state(module.get_state(inference_only=True))
    assert not {"confidence.precision", "confidence.moments"} & actor.get_state().keys()
    for way in ("_forward_inference", "_forward_exploration"):
        expected = getattr(module, way)({"obs": queries})["actions"]
        assert torch.equal(getattr(actor, way)({"obs": queries})["actions"], expected)


@pytest.mark.parametrize("per_arm", [False, True])
def test_contexts_are_standardised_by_all_that_were_observed(per_arm):
    module, plain = (
        make_module("neural_linear", per_arm),
        make_module("neural_linear", per_arm, standardize_contexts=False),
    )
    observations = 50.0 + 3.0 * rounds(per_arm, 40)[0]
    observations[..., 2] = 7.0  # a constant stays one
    for part in (slice(0, 3), slice(3, None)):
        for each in (module, plain):
            each.observe(observations[part])
    rows = observations.reshape(-1, D).double()
    deviation = rows.std(0, correction=0)
    deviation[2] = 1.0
    expected = ((rows - rows.mean(0)) / deviation).float().view(40, -1, D)
    torch.testing.assert_close(module._contexts(observations), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(plain._contexts(observations), observations.view(40, -1, D))


def test_features_beside_which_ridge_is_lost_are_refused():
    confidence = FullConfidence(D, 1, RIDGE)
    confidence.add(torch.full((16, 1, D), 2.0**30), torch.zeros(16), torch.zeros(16))
    with pytest.raises(ValueError, match=r"ridge = 0\.7 is lost; contexts should be of the order"):
        confidence.solve(MEAN, DEVIATION)
