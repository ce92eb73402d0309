"""How much is taken from programs under control, and how old it may be: what suits an algorithm.

Policies of on-policy algorithms learn from their own steps. While one learns, clients go on with
the version that it learns from, so steps are one version behind as a rule, and two if they waited
in a client meanwhile, which PPO bears; a queue of half a batch sees to it that they are rarely
more, and so do `shares` of it for clients that wait. APPO and IMPALA correct for what is older. A
replay takes all; its queue is short all the same, as it learns sooner from what is new.

ALGORITHMS are RLlib's; those of `marlserve.policies` are on-policy, or have a replay. Contextual
bandits explore by what their learners know, so that no client can play them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from marlserve.envs import checks
from marlserve.policies.training.bandit_config import BanditConfig
from marlserve.policies.training.base import PolicyConfig
from marlserve.policies.training.on_policy_config import OnPolicyConfig
from marlserve.serving.wire.contract import COLUMNS, Contract
from marlserve.serving.wire.seats import Seat

# By RLlib's name of the algorithm: versions that steps may be behind.
ALGORITHMS = {"PPO": 2.0, "APPO": 10.0, "IMPALA": 10.0, "DQN": inf, "SAC": inf}
_ON_POLICY = 2.0  # of ours
_REPLAY_FRAGMENT, _REPLAY_QUEUE, _REPLAY_EVERY_S = 32, 1_000, 0.2


@dataclass(frozen=True)
class Limits:
    """See the module.

    Attributes:
        most_staleness: versions that steps may be behind.
        columns: what is learned from beside what every algorithm learns from; on-policy ones learn
            from something.
        capacity_steps: of the queue.
        most_steps: of a fragment.
        fragment_steps: that a runner samples at once; 0: what the config says.
        publish_every_s: no policy is published sooner after another.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    most_staleness: float
    columns: tuple[str, ...]
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
            ValueError: if it is none of ALGORITHMS, and none of ours that can be played here.
        """
        if isinstance(config, PolicyConfig):
            return cls._of_ours(config)
        name = config.algo_class.__name__
        if name not in ALGORITHMS:
            raise ValueError(f"the algorithm is {name}; allowed are {sorted(ALGORITHMS)}")
        if ALGORITHMS[name] < inf:
            return cls(ALGORITHMS[name], COLUMNS, max(config.total_train_batch_size // 2, 1))
        return cls(
            inf,
            (),
            _REPLAY_QUEUE,
            fragment_steps=_REPLAY_FRAGMENT,
            publish_every_s=_REPLAY_EVERY_S,
        )

    @classmethod
    def _of_ours(cls, config: PolicyConfig) -> "Limits":
        if isinstance(config, BanditConfig):
            raise ValueError(
                f"{config.algo_class.__name__} explores by what its learner knows, and no client "
                "can; the other algorithms can be played by clients"
            )
        steps = sample_steps(config)
        most_steps = min(steps, 1_000)
        if isinstance(config, OnPolicyConfig):
            capacity_steps = max(steps * max(config.num_env_runners, 1) // 2, 1)
            return cls(_ON_POLICY, COLUMNS[:1], capacity_steps, most_steps)
        if getattr(config, "use_gru", False):
            most_steps = min(most_steps, config.sequence_length)
        return cls(inf, (), _REPLAY_QUEUE, most_steps, publish_every_s=_REPLAY_EVERY_S)

    def contract(self, policy: str, seats: Mapping[str, Seat], state_size: int = 0) -> Contract:
        """What clients are held to.

        Raises:
            ValueError: for what a `Contract` does not allow.
        """
        return Contract(
            policy,
            seats,
            bool(self.columns),
            self.most_staleness,
            self.columns,
            state_size,
            self.most_steps,
            self.capacity_steps,
        )


def sample_steps(config: PolicyConfig) -> int:
    """Steps that an env runner samples at once, for one of our algorithms: as many as all copies of
    an environment would take."""
    return config.get_rollout_fragment_length(1) * config.num_envs_per_env_runner
