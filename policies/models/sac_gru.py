"""The RLModule of recurrent SAC: actor and twin critics are networks of `gru`, each with a memory.

`soft_actor_critic` says what they do, and what training gives. Acting:

    OBS [n, 1, *O], STATE_IN {"h": [n, *hidden]}, "action_mask" [n, 1, H, A] optional
    -> ACTIONS [n, 1, *C], STATE_OUT {"h": [n, *hidden]}

or, without `use_gru`, neither states nor the axis of one step. Training, R rows of L steps:

    OBS [R, L+1, *O], ACTIONS [R, L, *C], "action_mask" [R, L+1, H, A] optional, FIRST [R],
    HIDDEN [R, *hidden], the actor's state before the row as it was when the row was sampled

Each network reads a row once, and its L+1 features serve this step and the next. The actor goes
on from its stored state, refreshed by the burn-in (Kapturowski et al. 2019, R2D2). Only the actor
runs when rows are sampled, so there is no such state of the critics. From zeros they would not
know of the episode's earlier steps what the actor may act upon, and would teach it to forget that.
So after the burn-in of a row that starts no episode, a critic's memory is a linear map of the
actor's, squashed, which the critic learns; no gradient goes to the actor.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor, nn
from torch.func import functional_call

from marlserve.policies.models.gru import FlatNetwork, PerComponentNetwork, make_network
from marlserve.policies.models.recurrent import acted, initial_state, seen, unrolled
from marlserve.policies.models.soft_actor_critic import SoftActorCritic
from marlserve.policies.sampling.sequences import ACTION_MASK, FIRST, HIDDEN

_NETWORK = ("network", "hidden_size", "use_gru", "embedding_size")


class ValueHead(nn.Module):
    """The value of a Box action: each component's features and numbers, then all of them together.

    A flat network's features are those of one component, which has all the action's numbers.

    Args:
        num_features: F, of a component.
        num_numbers: K, of the action that belong to a component.
    """

    def __init__(self, num_features: int, num_numbers: int):
        super().__init__()
        self.encoder = nn.Linear(num_features + num_numbers, num_features)
        self.joint = nn.Linear(num_features, num_features)
        self.last = nn.Linear(num_features, 1)

    def forward(self, features: Tensor, numbers: Tensor) -> Tensor:
        """[..., M, F] and [..., M, K] -> [...]."""
        encoded = torch.relu(self.encoder(torch.cat([features, numbers], -1))).mean(-2)
        return self.last(torch.relu(self.joint(encoded))).squeeze(-1)


class TwinCritics(nn.Module):
    """Two networks that share nothing.

    Args:
        make: gives one; its `head` is linear, or a `ValueHead`.
    """

    def __init__(self, make: Callable[[], FlatNetwork | PerComponentNetwork]):
        super().__init__()
        networks = [make(), make()]
        self.pair = nn.ModuleList(networks)
        size = networks[0].hidden_shape[-1:]
        # Without a bias: the actor's memory is zero where an episode starts, and so is theirs.
        self.memories = nn.ModuleList(
            [nn.Linear(size[0], size[0], bias=False) for _ in networks if size]
        )

    @property
    def _networks(self) -> list[FlatNetwork | PerComponentNetwork]:
        return cast(list[FlatNetwork | PerComponentNetwork], list(self.pair))

    def features(
        self, observations: Tensor, burn_in: int, first: Tensor, memory: Tensor | None
    ) -> list[Tensor]:
        """Of both, [R, T, ..., F], of observations [T, R, *O]; see `unrolled`.

        `memory` [R, *hidden] is the actor's after the burn-in.
        """
        after: list[Tensor | None] = [torch.tanh(linear(memory)) for linear in self.memories]
        return [
            unrolled(network, observations, None, burn_in, first, state)[0].transpose(0, 1)
            for network, state in zip(self._networks, after or [None, None], strict=True)
        ]

    def of_choices(self, features: list[Tensor]) -> Tensor:
        """Values of all values of all components, [2, R, T, H, A]."""
        return torch.stack([n.read(x) for n, x in zip(self._networks, features, strict=True)])

    def of_numbers(self, features: list[Tensor], actions: Tensor, frozen: bool = False) -> Tensor:
        """Values [2, R, T] of flat actions [R, T, size].

        Features are of M components, [R, T, M, F], or of a flat network, [R, T, F]. `frozen`
        gives gradients to the actions only.
        """
        values = []
        for network, some in zip(self._networks, features, strict=True):
            if some.ndim == actions.ndim:
                inputs = (some.unsqueeze(-2), actions.unsqueeze(-2))
            else:
                inputs = (some, actions.unsqueeze(-1))
            if frozen:
                fixed = {name: x.detach() for name, x in network.head.named_parameters()}
                inputs = (inputs[0].detach(), inputs[1])
                values.append(functional_call(network.head, fixed, inputs))
            else:
                values.append(network.head(*inputs))
        return torch.stack(values)


class SACGRUModule(SoftActorCritic):
    """`model_config` holds the arguments of `make_network`, "initial_alpha" and "burn_in"."""

    def make_networks(self) -> tuple[nn.Module, nn.Module]:
        return self._network(num_values=2), TwinCritics(self._critic)

    def get_initial_state(self) -> dict[str, Tensor]:
        return initial_state(self.actor)

    @torch.no_grad()
    def _act(self, batch: dict, explore: bool) -> dict:
        observations, mask, hidden = seen(batch)
        outputs, hidden = self.actor(observations, hidden)
        policy = self.policy(outputs, mask)
        return acted(policy.sample() if explore else policy.mode(), hidden)

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        observations = batch[Columns.OBS].float().transpose(0, 1)  # [L+1, R, *O]
        mask, burn_in, first = batch.get(ACTION_MASK), self.model_config["burn_in"], batch[FIRST]
        own, memory = unrolled(self.actor, observations, batch.get(HIDDEN), burn_in, first)
        outputs = self.actor.read(own.transpose(0, 1))  # [R, L+1, *heads]
        masks = (None, None) if mask is None else (mask[:, :-1], mask[:, 1:])
        now = self.policy(outputs[:, :-1], masks[0])
        later = self.policy(outputs[:, 1:].detach(), masks[1])
        rows = (observations, burn_in, first, None if memory is None else memory.detach())
        features = [x[:, :-1] for x in self.critics.features(*rows)]
        with torch.no_grad():
            following = [x[:, 1:] for x in self.target_critics.features(*rows)]
        actions = batch[Columns.ACTIONS]
        if self.is_box:
            critics = partial(self.critics.of_numbers, features)
            targets = partial(self.target_critics.of_numbers, following)
            return self.number_terms(now, later, critics, targets, actions)
        values = self.critics.of_choices(features)
        with torch.no_grad():
            targets = self.target_critics.of_choices(following)
        return self.choice_terms(now, later, values, targets, actions)

    def _network(self, num_values: int) -> FlatNetwork | PerComponentNetwork:
        """A network for these spaces; `num_values` for each number of a Box."""
        settings = {name: self.model_config[name] for name in _NETWORK}
        spaces = self.observation_space, self.action_space
        return make_network(*spaces, num_values=num_values, **settings)

    def _critic(self) -> FlatNetwork | PerComponentNetwork:
        network = self._network(num_values=1)
        if self.is_box:
            per_component = isinstance(network, PerComponentNetwork)
            num_numbers = 1 if per_component else self.heads[0]
            head = ValueHead(self.model_config["hidden_size"], num_numbers)
            network.head = head  # type: ignore[assignment]
        return network
