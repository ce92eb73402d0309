"""A policy file that chooses weights, and who looks whether there is a newer one.

player = Player(export.read("my_policy"), config, agent="lb_0", published_s=...)
weights = player.weights(observation)                   # [M]
"""

import logging
import threading
from pathlib import Path

import numpy as np

from marlserve.envs.load_balance.config import Config
from marlserve.envs.load_balance.observation import FEATURES
from marlserve.policies import export
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.numba_policy import NumbaPolicy
from marlserve.policies.export.spaces import Choices

# Of the problem, what an observation and an action mean by it.
INTERFACE = ("cores", "num_balancers", "action", "weight_levels", "step_s", "reservoir_rule")
_LOOK_S = 1.0
_log = logging.getLogger(__name__)


class Player:
    """For one balancer.

    Attributes:
        published_s: when the file was, in seconds since 1970.

    Raises:
        ValueError: if it has no policy for the agent, or one that was trained on another problem.
    """

    def __init__(self, file: PolicyFile, config: Config, agent: str, published_s: float = 0.0):
        network = file.networks[file.network_of(agent)]
        shape, actions = network.observation_space.shape, network.actions
        expected = (config.num_servers, len(FEATURES))
        if shape != expected:
            raise ValueError(f"the policy observes {shape}; expected is {expected}")
        allowed: tuple[int, ...] = (config.num_servers,)
        if config.action == "levels":
            allowed = (config.num_servers, len(config.weight_levels))
        is_levels = isinstance(actions, Choices)
        if actions.heads != allowed or is_levels != (config.action == "levels"):
            raise ValueError(
                f"the policy's actions are {network.action_space}; action is {config.action!r}, "
                f"with {config.num_servers} servers and levels {config.weight_levels}"
            )
        known = dict((file.training.get("experiment") or {}).get("env_config") or {})
        for name in INTERFACE:
            value, here = known.get(name), getattr(config, name)
            value = tuple(value) if isinstance(value, list) else value
            if name in known and value != here:
                raise ValueError(f"the policy was trained with {name} {value!r}, not {here!r}")
        self.published_s = published_s
        self._agent, self._policy = agent, NumbaPolicy(file)
        space = network.observation_space
        self._low, self._high = space.low, space.high
        self._levels = np.asarray(config.weight_levels) if is_levels else None

    def in_range(self, observation: np.ndarray) -> bool:
        """Whether it is one of those that the policy knows; NaN is not."""
        return bool(((observation >= self._low) & (observation <= self._high)).all())

    def weights(self, observation: np.ndarray) -> np.ndarray:
        """What it sets, [M]."""
        chosen = self._policy.decide(self._agent, observation)
        return chosen.astype(float) if self._levels is None else self._levels[chosen]


class Policies:
    """The policy at a path, read again whenever it changes; what cannot be read changes nothing.

    Args:
        path: None: there is none, and there will be none.

    Attributes:
        player: None until there is one.
        refused: how often one was not taken.
    """

    def __init__(self, path: Path | None, config: Config, agent: str):
        self.player: Player | None = None
        self.refused = 0
        self._path, self._config, self._agent = path, config, agent
        self._version: int | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="policy", daemon=True)

    def start(self) -> None:
        """Look now, and from now on beside."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        self._thread.join()

    def look(self) -> None:
        """Take the policy if it is another one."""
        if self._path is None:
            return
        try:
            version = (self._path / "policy.json").stat().st_mtime_ns
        except OSError as error:
            if self._version != -1:
                _log.warning("there is no policy at %s: %s", self._path, error)
            self._version = -1  # whatever comes is new
            return
        if version == self._version:
            return
        self._version = version
        try:
            file = export.read(self._path)
            self.player = Player(file, self._config, self._agent, version / 1e9)
            _log.info("plays the policy at %s", self._path)
        except (OSError, ValueError) as error:
            self.refused += 1
            _log.warning("the policy at %s is refused: %s", self._path, error)

    def _watch(self) -> None:
        while not self._closing.wait(_LOOK_S):
            self.look()
