"""B copies of the KV-compression problem. The package's docstring is its manual."""

from collections.abc import Callable, Sequence

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs import base
from marlserve.envs.kv_compression import picture
from marlserve.envs.kv_compression.config import Config
from marlserve.envs.kv_compression.live import Live
from marlserve.envs.kv_compression.observation import Measured, observe
from marlserve.envs.kv_compression.rewards import REWARDS
from marlserve.envs.kv_compression.table import Table

_CACHES = 8  # of prompts that are kept; others are read again when they are answered


class Problem(base.Problem):
    """See `marlserve.envs.kv_compression`.

    Attributes:
        arm_names: of the actions in their order.
        types: names of the prompts' types.
        prompts: number of the prompt that each copy is at, [B].
        last_actions: arms, [B]; -1 before the first.
    """

    name = "kv_compression"

    def __init__(self, config: Config, num_envs: int = 1):
        super().__init__(config, num_envs)
        self._source = Table(config) if config.table_path else Live(config, min(num_envs, _CACHES))
        self.agents = ("compressor",)
        self.arm_names = config.arms
        self.types = self._source.types
        self.action_space = Discrete(len(config.arms))
        size = self._contexts(np.zeros(1, np.int64)).shape[1]
        self.observation_space = Box(-1.0, 1.0, (size,), np.float32)
        self.state_space = self.observation_space
        self.prompts = np.zeros(num_envs, np.int64)
        self.last_actions = np.full(num_envs, -1)
        self._observations = np.zeros((num_envs, size), np.float32)
        self._metrics = {name: np.zeros(num_envs) for name in self._metric_names()}

    def _start(self, copies: np.ndarray) -> None:
        for copy in copies:
            self.prompts[copy] = self.generators[copy].integers(self.config.split_prompts)
        self.last_actions[copies] = -1
        self._observations[copies] = self._contexts(self.prompts[copies])
        for values in self._metrics.values():
            values[copies] = 0.0

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.last_actions = actions[:, 0].astype(np.int64)
        found = self._outcomes(self.last_actions)
        rewards = self._reward(found)
        for name in found:
            self._metrics[name] = found[name].astype(float)
        if "regret" in self._metrics:
            self._metrics["regret"] = self.rewards_of_all_arms().max(1) - rewards
        over = np.ones(self.num_envs, bool)
        return rewards[:, None].astype(np.float32), over, np.zeros(self.num_envs, bool)

    def rewards_of_all_arms(self) -> np.ndarray:
        """What every arm would earn for the prompts that the copies are at, [B, K]."""
        arms = range(len(self.arm_names))
        if isinstance(self._source, Table):
            found = self._source.outcomes(self.prompts[:, None], np.array(arms)[None])
            return self._reward(found)
        rows = [self._source.outcomes(index, arms) for index in self.prompts.tolist()]
        return np.stack([self._reward(row) for row in rows])

    def measured(self) -> list[Measured]:
        """What is known of the prompts that the copies are at.

        Raises:
            ValueError: with a table, which keeps observations instead.
        """
        if isinstance(self._source, Table):
            raise ValueError(
                f"table_path is {self.config.table_path!r}; a table keeps observations, not what "
                "they are computed from: allowed is ''"
            )
        return [self._source.measured(index) for index in self.prompts.tolist()]

    def observations(self) -> np.ndarray:
        return self._observations[:, None].copy()

    def state(self) -> np.ndarray:
        """What the compressor sees: there is one agent, and nothing that it could not know."""
        return self._observations.copy()

    def windows(self) -> np.ndarray:
        """The number of the prompt: episodes of one prompt are alike."""
        return self.prompts.astype(float)

    def prompt_types(self) -> np.ndarray:
        """Indices of `types`, [B]."""
        if isinstance(self._source, Table):
            return self._source.type(self.prompts)
        return np.array([self._source.type(index) for index in self.prompts.tolist()])

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the answer: `agreement` and `cosine` with the full cache's, its own `score`, `entries`
        that were kept in each layer and KV head; with a table also `regret`, what the best arm for
        the prompt would have earned more. `type` is an index of `types`, `arm` one of
        `arm_names`."""
        return {
            **{name: values.copy() for name, values in self._metrics.items()},
            "type": self.prompt_types().astype(float),
            "arm": self.last_actions.astype(float),
        }

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draws: dict[str, Callable[..., str | np.ndarray]] = {
            "ansi": picture.text,
            "rgb_array": picture.pixels,
        }
        return draws[mode](self, copy)

    def _metric_names(self) -> Sequence[str]:
        regret = ["regret"] if isinstance(self._source, Table) else []
        return ["agreement", "cosine", "score", "entries", *regret]

    def _contexts(self, prompts: np.ndarray) -> np.ndarray:
        """[B, F] float32, of these prompts."""
        source, config = self._source, self.config
        if isinstance(source, Table):
            return np.concatenate([source.context(prompts, group) for group in config.context], 1)
        rows = [observe(source.measured(index), config) for index in prompts.tolist()]
        return np.stack(rows) if rows else self._observations[:0]

    def _outcomes(self, arms: np.ndarray) -> dict[str, np.ndarray]:
        if isinstance(self._source, Table):
            return self._source.outcomes(self.prompts, arms)
        rows = [
            self._source.outcomes(index, [arm])
            for index, arm in zip(self.prompts.tolist(), arms.tolist(), strict=True)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _reward(self, found: dict[str, np.ndarray]) -> np.ndarray:
        return reward(self.config, found)


def reward(config: Config, found: dict[str, np.ndarray]) -> np.ndarray:
    """What outcomes earn, in their shape."""
    return REWARDS[config.reward](found).astype(float) - config.entry_price * found[
        "entries"
    ].astype(float)
