"""How the values of all agents become the value of the team.

Every head, that is every (agent, action component) pair, gives one number, Q_i. A mixer maps the
n of them, and the global state, to what the loss compares with the targets:

- "qmix": Q_tot = f(Q_1 .. Q_n; state) with dQ_tot/dQ_i >= 0, so that each head's own greedy choice
  is the team's (Rashid et al., "QMIX: Monotonic Value Function Factorisation for Deep Multi-Agent
  Reinforcement Learning", ICML 2018)
- "vdn": Q_tot = sum of Q_i (Sunehag et al., "Value-Decomposition Networks", AAMAS 2018)
- "none": nothing is mixed; every head learns by itself

A mixer lives on the learners only.
"""

import torch
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

MIXERS = ("qmix", "vdn", "none")

VALUES, STATE, MIXED = "values", "state", "mixed"


class MonotonicMixer(nn.Module):
    """Two layers whose weights are functions of the state, and never negative.

    values [..., n], state [..., S] -> [...]

    Args:
        num_values: n.
        state_size: S.
        mixing_size: width of the mixed layer.
        hypernet_size: width of the networks that make the weights.
    """

    def __init__(self, num_values: int, state_size: int, mixing_size: int, hypernet_size: int):
        super().__init__()
        self.num_values, self.mixing_size = num_values, mixing_size
        # One trunk feeds both weight heads and the final bias; the first bias is linear.
        self.trunk = nn.Sequential(nn.Linear(state_size, hypernet_size), nn.ReLU())
        self.first_weights = nn.Linear(hypernet_size, num_values * mixing_size)
        self.first_bias = nn.Linear(state_size, mixing_size)
        self.last_weights = nn.Linear(hypernet_size, mixing_size)
        self.last_bias = nn.Linear(hypernet_size, 1)

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        lead = values.shape[:-1]
        values, state = values.reshape(-1, 1, self.num_values), state.flatten(0, -2)
        trunk = self.trunk(state)
        first = self.first_weights(trunk).abs().unflatten(-1, (self.num_values, self.mixing_size))
        mixed = nn.functional.elu(torch.bmm(values, first).squeeze(1) + self.first_bias(state))
        last = self.last_weights(trunk).abs()
        return ((mixed * last).sum(-1) + self.last_bias(trunk).squeeze(-1)).view(lead)


class MixerModule(TorchRLModule, TargetNetworkAPI):
    """`MonotonicMixer` and its target, as the learner-only module of the team.

    The observation space is the state space; `model_config` holds "num_values", "mixing_size"
    and "hypernet_size".
    """

    def setup(self) -> None:
        self.mixer = MonotonicMixer(
            self.model_config["num_values"],
            self.observation_space.shape[0],
            self.model_config["mixing_size"],
            self.model_config["hypernet_size"],
        )

    def _forward_train(self, batch: dict[str, Tensor], **kwargs) -> dict[str, Tensor]:
        return {MIXED: self.mixer(batch[VALUES], batch[STATE])}

    @torch.no_grad()
    def forward_target(self, batch: dict[str, Tensor], **kwargs) -> dict[str, Tensor]:
        return {MIXED: self.target(batch[VALUES], batch[STATE])}

    def make_target_networks(self) -> None:
        self.target = make_target_network(self.mixer)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.mixer, self.target)]


class ParameterFreeMixer(RLModule):
    """The mixers "vdn" and "none".

    It has no framework, so RLlib gives it neither an optimizer nor a DDP wrapper: both refuse a
    module without parameters.
    """

    framework = None

    def _forward_train(self, batch: dict[str, Tensor], **kwargs) -> dict[str, Tensor]:
        values = batch[VALUES]
        return {MIXED: values.sum(-1) if self.model_config["mixer"] == "vdn" else values}

    forward_target = _forward_train

    def _forward(self, batch, **kwargs):
        raise NotImplementedError("a mixer is trained; it does not act")

    def get_state(self, *args, **kwargs) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        """There is nothing to set."""

    def compile(self, *args, **kwargs) -> None:
        """There is nothing to compile."""
