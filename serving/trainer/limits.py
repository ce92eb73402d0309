"""How much is taken from programs under control, and how old it may be: what suits an algorithm.

Policies of on-policy algorithms learn from their own steps. While one learns, clients go on with
the version that it learns from, so steps are one version behind as a rule, and two if they waited
in a client meanwhile, which PPO bears; a queue of half a batch sees to it that they are rarely
more. APPO and IMPALA correct for what is older. A replay takes all.
"""

from dataclasses import dataclass
from math import inf

from gymnasium.spaces import Box
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from marlserve.envs import checks
from marlserve.policies.export.spaces import ActionSpace
from marlserve.serving.wire.contract import Contract

# By the name of the algorithm: versions that steps may be behind, and whether log-probabilities
# are learned from.
ALGORITHMS = {
    "PPO": (2.0, True),
    "APPO": (10.0, True),
    "IMPALA": (10.0, True),
    "DQN": (inf, False),
    "SAC": (inf, False),
}
_REPLAY_FRAGMENT, _REPLAY_QUEUE, _REPLAY_EVERY_S = 32, 4_000, 0.2


@dataclass(frozen=True)
class Limits:
    """See the module.

    Attributes:
        most_staleness: versions that steps may be behind.
        keeps_choice: whether log-probabilities and outputs are learned from.
        capacity_steps: of the queue.
        most_steps: of a fragment.
        fragment_steps: that a runner samples at once; 0: what the config says.
        publish_every_s: no policy is published sooner after another.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    most_staleness: float
    keeps_choice: bool
    capacity_steps: int
    most_steps: int = 1_000
    fragment_steps: int = 0
    publish_every_s: float = 0.0

    def __post_init__(self) -> None:
        checks.number(self, "most_staleness", 0, inf)
        checks.whole(self, "capacity_steps", 1, 1_000_000_000)
        checks.whole(self, "most_steps", 1, 1_000_000)
        checks.whole(self, "fragment_steps", 0, 1_000_000)
        checks.number(self, "publish_every_s", 0.0, 3_600.0)

    @classmethod
    def of(cls, config: AlgorithmConfig) -> "Limits":
        """What suits the algorithm of this config.

        Raises:
            ValueError: if it is none of ALGORITHMS.
        """
        name = config.algo_class.__name__
        if name not in ALGORITHMS:
            raise ValueError(f"the algorithm is {name}; allowed are {sorted(ALGORITHMS)}")
        most_staleness, keeps_choice = ALGORITHMS[name]
        if keeps_choice:
            return cls(most_staleness, True, max(config.total_train_batch_size // 2, 1))
        return cls(
            most_staleness,
            False,
            _REPLAY_QUEUE,
            fragment_steps=_REPLAY_FRAGMENT,
            publish_every_s=_REPLAY_EVERY_S,
        )

    def contract(self, policy: str, observation_space: Box, action_space: ActionSpace) -> Contract:
        """What clients are held to.

        Raises:
            ValueError: for other spaces than a `Contract` allows.
        """
        return Contract(
            policy,
            observation_space,
            action_space,
            self.keeps_choice,
            self.most_staleness,
            self.most_steps,
            self.capacity_steps,
        )
