"""Rules that set weights where no policy does: those of `load_balance` that read nothing else than
observations and cores.

    weights = Heuristic("sed", config)(observation)     # [M]; at most what a policy may set
"""

from types import SimpleNamespace

import numpy as np

from marlserve.envs.load_balance.baselines import BASELINES
from marlserve.envs.load_balance.config import Config
from marlserve.envs.load_balance.observation import FEATURES, largest_weight

NAMES = ("sed", "lsq", "adaptive_sed")
_AGENT = "lb"


class Heuristic:
    """The baseline of that name.

    Raises:
        ValueError: if there is none, or it reads more than a controller can tell.
    """

    def __init__(self, name: str, config: Config):
        if name not in NAMES:
            raise ValueError(f"heuristic is {name!r}; allowed is one of {NAMES}")
        # All that these ask of a problem.
        self._act = BASELINES[name].policy(SimpleNamespace(config=config, agents=(_AGENT,)))
        self._largest = largest_weight(config)
        self._unknown = np.zeros((config.num_servers, len(FEATURES)), np.float32)

    def __call__(self, observation: np.ndarray | None) -> np.ndarray:
        """Weights for what was observed; None: nothing is known, as of servers without flows."""
        seen = self._unknown if observation is None else observation
        weights = self._act({_AGENT: seen[None]})[_AGENT][0].astype(float)
        return weights * (self._largest / weights.max())
