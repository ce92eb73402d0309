"""Networks over sequences: a GRU or a feed-forward layer, and one head per action component.

An action has H components of A values each (H = 1 for `Discrete`; of a `Box`, every number is a
component, and A is what a user of the network needs to know of it). Both networks map

    observations [T, B, *O], hidden [B, *hidden_shape]  ->  values [T, B, H, A], hidden

with time first, so that a sequence is one call. A feed-forward network has
`hidden_shape = ()` and passes None through.

- `FlatNetwork` flattens the observation and has H heads on one body.
- `PerComponentNetwork` is for an observation [M, F] that describes M things, one action component
  each, such as the servers of a load balancer, or of which the action chooses one, such as the
  replica that gets a request. The same encoder, GRU and head run for every one, and each sees the
  mean and the maximum over all of them. Its size does not grow with M, and without `embedding_size`
  it is equivariant: permuted components give permuted values.

`make_network` chooses by the shapes. A network is a `body`, which makes features [T, B, ..., F],
and a `head`, one linear layer, which `read` applies; `read_contrast` applies another head to what
tells a component from the others.
"""

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

NETWORKS = ("auto", "flat", "per_component")

# Larger batches are computed in parts: what fits into a core's cache is up to twice as fast.
_CACHED_NUMBERS = 600_000


class FlatNetwork(nn.Module):
    """observation -> linear -> GRU -> H heads.

    Args:
        observation_size: numbers in an observation.
        num_components: H.
        num_values: A.
        hidden_size: width of the body; `hidden_shape` is (hidden_size,).
        use_gru: False for a second linear layer in place of the GRU.
    """

    def __init__(
        self,
        observation_size: int,
        num_components: int,
        num_values: int,
        hidden_size: int,
        use_gru: bool,
    ):
        super().__init__()
        self.hidden_shape = (hidden_size,) if use_gru else ()
        self.heads = (num_components, num_values)
        self.encoder = nn.Linear(observation_size, hidden_size)
        self.memory = _memory(hidden_size, use_gru)
        self.head = nn.Linear(hidden_size, num_components * num_values)

    def body(self, observations: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        features = torch.relu(self.encoder(observations.flatten(2)))  # [T, B, hidden]
        return _remember(self.memory, features, hidden)

    def read(self, features: Tensor) -> Tensor:
        return self.head(features).unflatten(-1, self.heads)

    def read_contrast(self, features: Tensor, weight: Tensor) -> Tensor:
        return nn.functional.linear(features, weight).unflatten(-1, self.heads)

    def forward(self, observations: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        features, hidden = self.body(observations, hidden)
        return self.read(features), hidden


class PerComponentNetwork(nn.Module):
    """The same small network for each of M components, with what all of them look like.

    Args:
        num_components: M, the first axis of an observation.
        num_features: F, the second axis.
        num_values: A.
        hidden_size: width per component; `hidden_shape` is (M, hidden_size).
        use_gru: False for a linear layer in place of the GRU.
        embedding_size: numbers learned per component, which tell one from another; 0 for none.
        choice: the M values are those of one action component, which chooses one of M.
    """

    def __init__(
        self,
        num_components: int,
        num_features: int,
        num_values: int,
        hidden_size: int,
        use_gru: bool,
        embedding_size: int = 0,
        choice: bool = False,
    ):
        super().__init__()
        self.choice = choice
        self.hidden_shape = (num_components, hidden_size) if use_gru else ()
        self.width = hidden_size
        self.encoder = nn.Linear(num_features, hidden_size)
        # A linear map of [features, embedding] is a linear map of each, added up.
        self.embedding = (
            nn.Sequential(
                nn.Embedding(num_components, embedding_size),
                nn.Linear(embedding_size, hidden_size, bias=False),
            )
            if embedding_size
            else None
        )
        self.context = nn.Linear(2 * hidden_size, hidden_size)
        self.memory = _memory(hidden_size, use_gru)
        self.head = nn.Linear(hidden_size, 1 if choice else num_values)
        self.register_buffer("index", torch.arange(num_components), persistent=False)

    def body(self, observations: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows = max(1, _CACHED_NUMBERS // (observations[:, :1, ..., 0].numel() * self.width))
        if observations.shape[1] <= rows:
            return self._run(observations, hidden)
        parts = observations.split(rows, 1)
        before = [None] * len(parts) if hidden is None else hidden.split(rows)
        features, after = zip(*map(self._run, parts, before), strict=True)
        return torch.cat(features, 1), None if after[0] is None else torch.cat(after)

    def _run(self, observations: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        encoded = self.encoder(observations)  # [T, B, M, hidden]
        if self.embedding is not None:
            encoded = encoded + self.embedding(self.index)
        encoded = torch.relu(encoded)
        pooled = torch.cat([encoded.mean(-2), encoded.amax(-2)], -1)  # [T, B, 2 * hidden]
        features = encoded + self.context(pooled).unsqueeze(-2)
        batch = features.shape[1:3]  # B, M: every component is a sequence of its own
        hidden = None if hidden is None else hidden.flatten(0, 1)
        features, hidden = _remember(self.memory, features.flatten(1, 2), hidden)
        hidden = None if hidden is None else hidden.unflatten(0, batch)
        return features.unflatten(1, batch), hidden

    def read(self, features: Tensor) -> Tensor:
        return self._by_head(self.head(features))

    def read_contrast(self, features: Tensor, weight: Tensor) -> Tensor:
        contrast = features - features.mean(-2, keepdim=True)
        return self._by_head(nn.functional.linear(contrast, weight))

    def _by_head(self, values: Tensor) -> Tensor:
        return values.transpose(-1, -2) if self.choice else values

    def forward(self, observations: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        features, hidden = self.body(observations, hidden)
        return self.read(features), hidden


def make_network(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    *,
    network: str = "auto",
    hidden_size: int = 64,
    use_gru: bool = True,
    embedding_size: int = 0,
    num_values: int | None = None,
) -> FlatNetwork | PerComponentNetwork:
    """The network for these spaces.

    Args:
        network: "flat", "per_component", or "auto": per component where an observation [M, F]
            meets an action of M components or the choice of one of M, flat elsewhere.
        num_values: A, for `Box` actions, each number of which is a component; the others have
            values of their own.

    Raises:
        ValueError: for spaces that no network can play, an unknown `network`, or
            "per_component" where the shapes do not allow it.
    """
    if network not in NETWORKS:
        raise ValueError(f"network is {network!r}; allowed are {NETWORKS}")
    if not isinstance(observation_space, gymnasium.spaces.Box):
        raise ValueError(f"the observation space is {observation_space}; it must be a Box")
    if isinstance(action_space, gymnasium.spaces.Box) and num_values is not None:
        components, values = int(np.prod(action_space.shape)), num_values
    else:
        sizes = component_sizes(action_space)
        components, values = len(sizes), max(sizes)
    shape = observation_space.shape
    fits = describes_components(observation_space, action_space)
    if network == "per_component" and not fits:
        raise ValueError(
            f"network is 'per_component', which needs observations [M, F] and actions of M "
            f"components or the choice of one of M; the spaces are {observation_space} and "
            f"{action_space}"
        )
    if fits and network != "flat":
        choice = isinstance(action_space, gymnasium.spaces.Discrete)
        return PerComponentNetwork(
            shape[0], shape[1], values, hidden_size, use_gru, embedding_size, choice
        )
    return FlatNetwork(int(np.prod(shape)), components, values, hidden_size, use_gru)


def describes_components(
    observation_space: gymnasium.spaces.Box, action_space: gymnasium.Space
) -> bool:
    """Whether the observation [M, F] describes the M components of an action, or the M things of
    which it chooses one."""
    shape = observation_space.shape
    if len(shape) != 2:
        return False
    if isinstance(action_space, gymnasium.spaces.Discrete):
        return bool(action_space.n == shape[0])
    return action_space.shape == shape[:1]


def with_components(
    observation_space: gymnasium.spaces.Box, action_space: gymnasium.Space, num_components: int
) -> tuple[gymnasium.spaces.Box, gymnasium.Space]:
    """The same spaces with another M, all of whose components are like the first; those that have
    so many already are left as they are.

    Raises:
        ValueError: if the observation does not describe components, see `describes_components`, and
            for no positive number of them.
    """
    if isinstance(num_components, bool) or num_components < 1:
        raise ValueError(f"num_components is {num_components!r}; it must be at least 1")
    if observation_space.shape[:1] == (num_components,):
        return observation_space, action_space
    if not describes_components(observation_space, action_space):
        raise ValueError(
            f"observations of {observation_space} and actions of {action_space} have no "
            f"components that there could be {num_components} of"
        )

    seen = _repeated(observation_space, num_components)
    if isinstance(action_space, gymnasium.spaces.Discrete):
        return seen, gymnasium.spaces.Discrete(num_components)
    if isinstance(action_space, gymnasium.spaces.MultiDiscrete):
        values = np.repeat(action_space.nvec[:1], num_components)
        return seen, gymnasium.spaces.MultiDiscrete(values)
    assert isinstance(action_space, gymnasium.spaces.Box)  # as its shape is [M]
    return seen, _repeated(action_space, num_components)


def _repeated(space: gymnasium.spaces.Box, count: int) -> gymnasium.spaces.Box:
    """So many along the first axis, all like the first."""
    low, high = (np.repeat(bound[:1], count, axis=0) for bound in (space.low, space.high))
    return gymnasium.spaces.Box(low, high, dtype=low.dtype.type)


def component_sizes(action_space: gymnasium.Space) -> list[int]:
    """How many values each action component has, [H]; one component for `Discrete`.

    Raises:
        ValueError: if the space is neither `Discrete` nor a one-dimensional `MultiDiscrete`.
    """
    if isinstance(action_space, gymnasium.spaces.Discrete):
        return [int(action_space.n)]
    if isinstance(action_space, gymnasium.spaces.MultiDiscrete) and action_space.nvec.ndim == 1:
        return action_space.nvec.tolist()
    raise ValueError(
        f"the action space is {action_space}; Q-networks play Discrete and flat MultiDiscrete"
    )


def _memory(size: int, use_gru: bool) -> nn.Module:
    return nn.GRU(size, size) if use_gru else nn.Linear(size, size)


def _remember(
    memory: nn.Module, features: Tensor, hidden: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Features [T, B, hidden] after the GRU, started from `hidden` [B, hidden] (None: zeros)."""
    if isinstance(memory, nn.GRU):
        start = None if hidden is None else hidden.unsqueeze(0).contiguous()
        features, last = memory(features, start)
        return features, last.squeeze(0)
    return torch.relu(memory(features)), None
