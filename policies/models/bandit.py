"""What the RLModules of contextual bandits share: how they act, and what they count.

    score of an arm = mean + ucb_beta * sqrt(phi' A^-1 phi)    to explore; else the mean alone

`neural_linear` and `neural_ucb` say what the features phi of a context and an arm are, and what
reward is expected of it, the mean; A is what `full_confidence` or `diagonal_confidence` keep.
Means and uncertainties are in standard deviations of the reward.

Contexts come in two shapes, by the observation space, a `Box` (see `context_shape`): [K, d] is a
context for each of the K arms, to all of which one network with one output, and one A, is applied.
Of any other one, flattened to d numbers, the arms have an output each, and an A each, or a part of
one A where features are gradients. C is the number of contexts in an observation, K or 1.

Acting:

    OBS [n, *O], "action_mask" [n, 1, K] optional  ->  ACTIONS [n] int64, indices from 0

Training, R rows of L steps:

    OBS [R, L+1, *O], ACTIONS [R, L]
    -> CHOSEN [n, R, L]   the outputs of the n networks for what was done
       VARIANCE [R, L]    phi' A^-1 phi of it, with gradients to the network, A being constant;
                          only with uncertainty_coef

Rows of a batch act at the same time, so none knows the others' rewards, but what they choose tells
A all that it needs. Each row's choice therefore counts for the next ones (Desautels, Krause,
Burdick: Parallelizing exploration-exploitation tradeoffs in Gaussian process bandit optimization,
JMLR 2014), or else all rows with like contexts would try the same arm.
"""

from abc import abstractmethod
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from marlserve.policies.models.diagonal_confidence import DiagonalConfidence, Factors
from marlserve.policies.models.full_confidence import FullConfidence
from marlserve.policies.models.masks import best, single_mask
from marlserve.policies.models.mlp import mlp
from marlserve.policies.models.moments import RunningMoments

CHOSEN, VARIANCE = "chosen", "variance"


def context_shape(space: gymnasium.spaces.Box, num_arms: int) -> tuple[int, int]:
    """Number of contexts in an observation, 1 or `num_arms`, and how many numbers each has.

    Raises:
        ValueError: for a space of two axes that has not one context per arm.
    """
    if len(space.shape) != 2:
        return 1, int(np.prod(space.shape))
    num_contexts, size = space.shape
    if num_contexts != num_arms:
        raise ValueError(
            f"the observation space has shape {space.shape}, but there are {num_arms} arms; it "
            f"must be [d], or [{num_arms}, d] for one context per arm"
        )
    return num_contexts, size


class BanditModule(TorchRLModule, InferenceOnlyAPI):
    """`model_config` holds "hidden_sizes", "ucb_beta", "ridge", "uncertainty_coef" and
    "standardize_contexts", and what the subclass reads."""

    confidence: Any  # FullConfidence or DiagonalConfidence: each has features of its own form
    networks: Any  # of nn.Sequential; to type checkers, a ModuleList holds any modules

    @property
    def num_networks(self) -> int:
        return 1

    def setup(self) -> None:
        num_arms, hidden_sizes = int(self.action_space.n), self.model_config["hidden_sizes"]
        num_contexts, size = context_shape(self.observation_space, num_arms)
        self.context_per_arm = len(self.observation_space.shape) == 2
        outputs = num_arms if num_contexts == 1 else 1
        self.moments = RunningMoments(size)
        self.networks = nn.ModuleList(
            mlp(size, hidden_sizes, outputs) for _ in range(self.num_networks)
        )
        self.confidence = self.make_confidence()
        if self.inference_only:
            for part in (self.confidence, self.moments):
                for name in part.SUMS:
                    delattr(part, name)

    @abstractmethod
    def make_confidence(self) -> FullConfidence | DiagonalConfidence:
        """A of no round yet."""

    @abstractmethod
    def features(self, contexts: Tensor, arms: Tensor | None = None) -> Tensor | Factors:
        """phi, as the confidence takes it: of all arms, for contexts [n, C, d]; or of the arms
        [R], for their contexts [R, 1, d]."""

    @abstractmethod
    def means(self, contexts: Tensor) -> Tensor:
        """Expected standardised rewards of all arms for contexts [n, C, d]: [n, K]."""

    @torch.no_grad()
    def _forward_inference(self, batch: dict, **kwargs) -> dict:
        contexts = self._contexts(batch[Columns.OBS])
        return {Columns.ACTIONS: best(self.means(contexts), single_mask(batch))}

    @torch.no_grad()
    def _forward_exploration(self, batch: dict, **kwargs) -> dict:
        """Row after row: the arm of the highest score, after the choices of the rows before."""
        contexts, mask = self._contexts(batch[Columns.OBS]), single_mask(batch)
        means, beta = self.means(contexts), self.model_config["ucb_beta"]
        rows = self.confidence.side_by_side(self.features(contexts))
        actions = torch.zeros(len(means), dtype=torch.int64, device=means.device)
        for row in range(len(means)):
            scores = means[row] + beta * rows.variances(row).sqrt()
            arm = int(best(scores, None if mask is None else mask[row]))
            rows.choose(row, arm)
            actions[row] = arm
        return {Columns.ACTIONS: actions}

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        actions = batch[Columns.ACTIONS]  # [R, L]
        observations, arms = batch[Columns.OBS][:, :-1].flatten(0, 1), actions.flatten()
        contexts = self._contexts_of(observations, arms)
        outputs = {CHOSEN: self._outputs(contexts, arms).view(-1, *actions.shape)}
        if self.model_config["uncertainty_coef"] > 0:
            variances = self.confidence.chosen_variances(self.features(contexts, arms), arms)
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
        self.confidence.add(self.features(contexts, arms), arms, rewards)

    @torch.no_grad()
    def beliefs(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and uncertainty of all arms for observations [n, *O]: [n, K] each."""
        contexts = self._contexts(observations)
        return self.means(contexts), self.confidence.variances(self.features(contexts)).sqrt()

    def _contexts(self, observations: Tensor) -> Tensor:
        """[n, *O] as [n, C, d], standardised."""
        return self.moments(self._raw_contexts(observations))

    def _raw_contexts(self, observations: Tensor) -> Tensor:
        observations = observations.float()
        return observations if self.context_per_arm else observations.flatten(1).unsqueeze(1)

    def _contexts_of(self, observations: Tensor, arms: Tensor) -> Tensor:
        """The contexts of the arms that were chosen, [R, 1, d]."""
        contexts = self._contexts(observations)
        if self.context_per_arm:
            contexts = contexts[torch.arange(len(arms), device=arms.device), arms].unsqueeze(1)
        return contexts

    def _outputs(self, contexts: Tensor, arms: Tensor) -> Tensor:
        """The networks' outputs for the chosen arms, given their contexts [R, 1, d]; [n, R]."""
        outputs = torch.stack([network(contexts).squeeze(1) for network in self.networks])
        if self.context_per_arm:
            return outputs.squeeze(-1)
        chosen = arms.unsqueeze(-1).expand(len(outputs), -1, -1)
        return outputs.gather(-1, chosen).squeeze(-1)

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
