"""The RLModule of NeuralUCB: predicts the reward of each arm, and how uncertain it is of that.

What a context and an arm are to the confidence (phi of `confidence`) is one of `FEATURES`:

    "neural_linear"  the last hidden layers of `num_networks` networks, together of unit length,
                     and 1
    "gradient"       the gradient of the arm's output by all weights, over the square root of the
                     last hidden layer's width; only the diagonal of A
    "gradient_full"  the same with all of A, for networks of at most `MAX_FULL_WEIGHTS` weights
    "linear"         the context itself, and 1; there is no network

The mean is that of ridge regression for the linear kinds, which fits all rounds at once; the
network's own last layer, learned step by step, lags behind it. For the gradients it is the
network's output. What was never tried is as uncertain as phi is long, over sqrt(ridge): 1.4 for
"neural_linear"; some 0.2 to 0.4 for the gradients of two hidden layers of 64; about sqrt(1 + d) for
"linear", if contexts are d standardised numbers, so that many of them ask for a lesser `ucb_beta`.

Contexts come in two shapes, by the observation space, a `Box` (see `context_shape`): [K, d] is a
context for each of the K arms, to all of which one network with one output, and one A, is applied.
Of any other one, flattened to d numbers, the arms have an output each, and an A each, or a part of
one A where features are gradients.

Acting, in standardised rewards:

    OBS [n, *O], "action_mask" [n, 1, K] optional  ->  ACTIONS [n] int64, indices from 0: the best
    mean; to explore, the best mean + ucb_beta * uncertainty, see `upper_bound_choices`

Training, R rows of L steps:

    OBS [R, L+1, *O], ACTIONS [R, L]
    -> CHOSEN [n, R, L]   the outputs of the n networks for what was done
       VARIANCE [R, L]    its variance, with gradients to the network; only with uncertainty_coef
"""

import math
from itertools import pairwise

import gymnasium
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot, pad

from marlserve.policies.models.confidence import (
    DiagonalConfidence,
    Factors,
    FullConfidence,
    upper_bound_choices,
)
from marlserve.policies.models.masks import best, single_mask
from marlserve.policies.models.mlp import mlp
from marlserve.policies.models.moments import RunningMoments

FEATURES = ("neural_linear", "gradient", "gradient_full", "linear")
MAX_FULL_WEIGHTS = 1_000  # the inverse of a matrix so large takes some 0.1 s, once per update
CHOSEN, VARIANCE = "chosen", "variance"


def context_shape(space: gymnasium.spaces.Box, num_arms: int) -> tuple[int, int]:
    """Number of contexts in an observation, 1 or `num_arms`, and how many numbers each has.

    Raises:
        ValueError: for a space of two axes that has not one context per arm.
    """
    if len(space.shape) != 2:
        return 1, int(np.prod(space.shape))
    if space.shape[0] != num_arms:
        raise ValueError(
            f"the observation space has shape {space.shape}, but there are {num_arms} arms; it "
            f"must be [d], or [{num_arms}, d] for one context per arm"
        )
    return space.shape


def layer_shapes(
    space: gymnasium.spaces.Box, num_arms: int, hidden_sizes: list[int]
) -> list[tuple[int, int]]:
    """(O, I) of the weights of each layer of the network; the last input, a 1, is for the bias."""
    num_contexts, size = context_shape(space, num_arms)
    sizes = [size, *hidden_sizes, num_arms if num_contexts == 1 else 1]
    return [(outputs, inputs + 1) for inputs, outputs in pairwise(sizes)]


class NeuralUCBModule(TorchRLModule, InferenceOnlyAPI):
    """`model_config` holds "features", "hidden_sizes", "ucb_beta", "ridge", "uncertainty_coef"
    "num_networks" and "standardize_contexts"."""

    def setup(self) -> None:
        config, space = self.model_config, self.observation_space
        self.kind, ridge = config["features"], config["ridge"]
        num_arms, hidden_sizes = int(self.action_space.n), list(config["hidden_sizes"])
        size = context_shape(space, num_arms)[1]
        self._context_per_arm = len(space.shape) == 2
        num_matrices = 1 if self._context_per_arm else num_arms
        layers = layer_shapes(space, num_arms, hidden_sizes)
        self.moments = RunningMoments(size)
        count = 0 if self.kind == "linear" else config["num_networks"]
        self.networks = nn.ModuleList(mlp(size, hidden_sizes, layers[-1][0]) for _ in range(count))
        if self.kind == "linear":
            self.confidence = FullConfidence(size + 1, num_matrices, ridge)
        elif self.kind == "neural_linear":
            self.confidence = FullConfidence(count * hidden_sizes[-1] + 1, num_matrices, ridge)
        elif self.kind == "gradient_full":
            self.confidence = FullConfidence(sum(o * i for o, i in layers), 1, ridge)
        else:
            self.confidence = DiagonalConfidence(layers, ridge)
        if self.inference_only:
            for part in (self.confidence, self.moments):
                for name in part.SUMS:
                    delattr(part, name)

    @torch.no_grad()
    def _forward_inference(self, batch: dict, **kwargs) -> dict:
        contexts = self._contexts(batch[Columns.OBS])
        means = self._means(contexts, None if self._by_gradient else self._features(contexts))
        return {Columns.ACTIONS: best(means, single_mask(batch))}

    @torch.no_grad()
    def _forward_exploration(self, batch: dict, **kwargs) -> dict:
        contexts = self._contexts(batch[Columns.OBS])
        features = self._features(contexts)
        rows, beta = self.confidence.side_by_side(features), self.model_config["ucb_beta"]
        means = self._means(contexts, features)
        return {Columns.ACTIONS: upper_bound_choices(means, rows, beta, single_mask(batch))}

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        actions = batch[Columns.ACTIONS]  # [R, L]
        observations, arms = batch[Columns.OBS][:, :-1].flatten(0, 1), actions.flatten()
        contexts = self._contexts_of(observations, arms)
        outputs = {CHOSEN: self._outputs(contexts, arms).view(-1, *actions.shape)}
        if self.model_config["uncertainty_coef"] > 0:
            variances = self.confidence.chosen_variances(self._features(contexts, arms), arms)
            outputs[VARIANCE] = variances.view(actions.shape)
        return outputs

    def observe(self, observations: Tensor) -> None:
        """Take contexts [R, *O] into account, for their standardisation."""
        if self.model_config["standardize_contexts"]:
            self.moments.observe(self._raw_contexts(observations).flatten(0, 1))

    @torch.no_grad()
    def absorb(self, observations: Tensor, arms: Tensor, rewards: Tensor) -> None:
        """Count what was done, in the confidence: [R, *O], [R] and [R]."""
        contexts = self._contexts_of(observations, arms)
        self.confidence.add(self._features(contexts, arms), arms, rewards)

    @torch.no_grad()
    def beliefs(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and uncertainty of all arms, [n, K] each, in standard deviations of the reward."""
        contexts = self._contexts(observations)
        features = self._features(contexts)
        return self._means(contexts, features), self.confidence.variances(features).sqrt()

    @property
    def _by_gradient(self) -> bool:
        return self.kind in ("gradient", "gradient_full")

    def _contexts(self, observations: Tensor) -> Tensor:
        """[n, *O] as [n, C, d], standardised."""
        return self.moments(self._raw_contexts(observations))

    def _raw_contexts(self, observations: Tensor) -> Tensor:
        observations = observations.float()
        return observations if self._context_per_arm else observations.flatten(1).unsqueeze(1)

    def _contexts_of(self, observations: Tensor, arms: Tensor) -> Tensor:
        """The contexts of the arms that were chosen, [R, 1, d]."""
        contexts = self._contexts(observations)
        if self._context_per_arm:
            contexts = contexts[torch.arange(len(arms), device=arms.device), arms].unsqueeze(1)
        return contexts

    def _outputs(self, contexts: Tensor, arms: Tensor) -> Tensor:
        """The networks' outputs for the chosen arms, given their contexts [R, 1, d]; [n, R]."""
        outputs = torch.stack([network(contexts).squeeze(1) for network in self.networks])
        if self._context_per_arm:
            return outputs.squeeze(-1)
        chosen = arms.unsqueeze(-1).expand(len(outputs), -1, -1)
        return outputs.gather(-1, chosen).squeeze(-1)

    def _means(self, contexts: Tensor, features: Tensor | Factors | None) -> Tensor:
        """Predicted standardised rewards of all arms, [n, K]."""
        if self._by_gradient:
            return self.networks[0](contexts).flatten(1)
        return self.confidence.means(features)

    def _features(self, contexts: Tensor, arms: Tensor | None = None) -> Tensor | Factors:
        """What the confidence takes: of all arms, or of one per row, whose contexts are given."""
        if self.kind == "linear":
            return pad(contexts, (0, 1), value=1.0)
        if self.kind == "neural_linear":
            layers = [normalize(network[:-1](contexts), dim=-1) for network in self.networks]
            return pad(torch.cat(layers, -1) / math.sqrt(len(layers)), (0, 1), value=1.0)
        factors = self._gradient_factors(contexts, arms)
        if self.kind == "gradient":
            return factors
        products = (errors.unsqueeze(-1) * inputs.unsqueeze(-2) for errors, inputs in factors)
        return torch.cat([product.flatten(-2) for product in products], -1)

    def _gradient_factors(self, contexts: Tensor, arms: Tensor | None) -> Factors:
        """The gradients' two factors per layer, by propagating each output's error back.

        The gradient of an output by the weights of a layer is the outer product of the output's
        derivative by the layer's sums, [n, K, O], and the layer's inputs, [n, C, I].
        """
        layers = [layer for layer in self.networks[0] if isinstance(layer, nn.Linear)]
        inputs = [contexts]
        for layer in layers[:-1]:
            inputs.append(torch.relu(layer(inputs[-1])))
        last = layers[-1]
        if self._context_per_arm:
            errors = contexts.new_ones(*contexts.shape[:2], 1)
        elif arms is None:
            errors = torch.eye(last.out_features, device=contexts.device)
            errors = errors.expand(len(contexts), -1, -1)
        else:
            errors = one_hot(arms, last.out_features).unsqueeze(1).to(contexts.dtype)
        factors = [(errors / math.sqrt(last.in_features), inputs[-1])]
        for layer in reversed(layers[1:]):
            errors, values = factors[0]  # values are outputs of a ReLU
            factors.insert(0, ((errors @ layer.weight) * (values > 0), inputs[-1 - len(factors)]))
        return [(errors, pad(values, (0, 1), value=1.0)) for errors, values in factors]

    def get_non_inference_attributes(self) -> list[str]:
        if self.inference_only:  # `setup` removed them: RLlib (2.60) fails at dotted names
            return []
        parts = {"confidence": self.confidence, "moments": self.moments}
        return [f"{where}.{name}" for where, part in parts.items() for name in part.SUMS]

    def get_state(self, *args, **kwargs) -> dict:
        """As RLlib does it, but what is float64 stays so."""
        state = super().get_state(*args, **kwargs)
        for name, value in self.state_dict().items():
            if name in state and value.dtype == torch.float64:
                state[name] = value.cpu().numpy().copy()
        return state

    def set_state(self, state: dict) -> None:
        """As RLlib does it, but what is float64 stays so."""
        super().set_state(state)
        exact = {k: v for k, v in state.items() if getattr(v, "dtype", None) == np.float64}
        self.load_state_dict({k: torch.tensor(v) for k, v in exact.items()}, strict=False)
