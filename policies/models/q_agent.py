"""The RLModule of one policy: a Q-network that acts greedily, or epsilon-greedily to explore.

Every component explores by itself, uniformly, with probability epsilon * (1 - coherence). Where an
action has many components, each alone changes little, and no step tells much about any of them. So
with probability epsilon * coherence a step begins from a choice that all components of all agents
make together: one random head on the features of the network. A per-component network takes their
mean over an agent's components away, so that components that look alike move alike, and against
the others.

It may serve many agents. Acting:

    OBS [n, *O], or [n, 1, *O] with STATE_IN {"h": [n, *hidden]} if recurrent,
    "action_mask" [n, (1,) H, A] optional
    -> ACTIONS [n, (1,) *C] int64, value indices from 0 (no component axis for `Discrete`),
       STATE_OUT {"h": ...} if recurrent

Training, R rows of n agents and T observations each:

    OBS [R, T, n, *O], "hidden" [R, n, *hidden] if recurrent, FIRST [R], "action_mask"
    [R, T, n, H, A] optional
    -> "values" and "target_values" [T, R, n, H, A], and "greedy" [T, R, n, H], the best legal
       value index by the online network (`double_q`) or by the target network
"""

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor, nn

from marlserve.policies.models.gru import (
    FlatNetwork,
    PerComponentNetwork,
    component_sizes,
    make_network,
)
from marlserve.policies.models.masks import best, combined, component_mask
from marlserve.policies.models.recurrent import acted, initial_state, seen, unrolled
from marlserve.policies.sampling.sequences import ACTION_MASK, FIRST, HIDDEN

VALUES, TARGET_VALUES, GREEDY = "values", "target_values", "greedy"


class QAgentModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """`model_config` holds the arguments of `make_network`, "epsilon", "coherence", "double_q"
    and "burn_in".

    "epsilon" is a number or a schedule [[env_steps, value], ...].
    """

    def setup(self) -> None:
        names = ("network", "hidden_size", "use_gru", "embedding_size")
        self.network = make_network(
            self.observation_space,
            self.action_space,
            **{name: self.model_config[name] for name in names},
        )
        self._epsilon = Scheduler(self.model_config["epsilon"], framework="torch")
        sizes = component_sizes(self.action_space)
        self._one_component = not self.action_space.shape
        self.register_buffer("legal", component_mask(sizes), persistent=False)

    def get_initial_state(self) -> dict[str, Tensor]:
        return initial_state(self.network)

    def _forward_inference(self, batch: dict, **kwargs) -> dict:
        return self._act(batch, epsilon=0.0)

    def _forward_exploration(self, batch: dict, t: int = 0, **kwargs) -> dict:
        """`t` is the number of environment steps that all runners have sampled so far."""
        return self._act(batch, epsilon=self._epsilon.update(t))

    @torch.no_grad()
    def _act(self, batch: dict, epsilon: float) -> dict:
        observations, mask, hidden = seen(batch)
        features, hidden = self.network.body(observations, hidden)
        values, mask = self.network.read(features), combined(mask, self.legal)
        actions, coherence = best(values, mask), self.model_config["coherence"]
        if torch.rand(()) < epsilon * coherence:
            random_head = torch.randn_like(self.network.head.weight)
            actions = best(self.network.read_contrast(features, random_head), mask)
        if epsilon * (1.0 - coherence) > 0:
            alone = torch.rand(actions.shape, device=actions.device) < epsilon * (1.0 - coherence)
            # The best of random values among the legal ones is a uniform choice.
            actions = torch.where(alone, best(torch.rand_like(values), mask), actions)
        if self._one_component:
            actions = actions.squeeze(-1)
        return acted(actions, hidden)

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        observations = batch[Columns.OBS].float().transpose(0, 1)  # [T, R, n, *O]
        agents = observations.shape[1:3]
        observations = observations.flatten(1, 2)
        hidden = batch[HIDDEN].flatten(0, 1) if HIDDEN in batch else None
        first = batch[FIRST].repeat_interleave(agents[1])

        def values_by(network: FlatNetwork | PerComponentNetwork) -> Tensor:
            burn_in = self.model_config["burn_in"]
            features, _ = unrolled(network, observations, hidden, burn_in, first)
            return network.read(features).unflatten(1, agents)

        mask = batch.get(ACTION_MASK)
        mask = combined(None if mask is None else mask.transpose(0, 1), self.legal)
        values = values_by(self.network)
        with torch.no_grad():
            target = values_by(self.target)
            greedy = best(values if self.model_config["double_q"] else target, mask)
        return {VALUES: values, TARGET_VALUES: target, GREEDY: greedy}

    def make_target_networks(self) -> None:
        self.target = make_target_network(self.network)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.network, self.target)]

    def forward_target(self, batch: dict) -> dict[str, Tensor]:
        raise NotImplementedError("the target network runs within forward_train")

    def get_non_inference_attributes(self) -> list[str]:
        return ["target"]
