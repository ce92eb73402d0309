"""What RLlib's own algorithms sample from programs: episodes of one agent, exactly as many steps as
they ask for."""

from collections.abc import Mapping
from typing import Any

from gymnasium.spaces import Space
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from marlserve.policies.export import rllib_modules  # noqa: F401  teaches `exported`
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import ANYONE, Network, PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.serving.trainer.runners.chunks import Chunks
from marlserve.serving.trainer.runners.env_runner import ExternalEnvRunner
from marlserve.serving.trainer.runners.episodes import Episodes
from marlserve.serving.wire.steps import Steps

NUM_STEPS_LEFT_STALE = "num_env_steps_left_stale"


class EpisodeRunner(ExternalEnvRunner):
    """See the module."""

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self.module = _module(self.config)
        self._episodes = Episodes(self.contract)

    def sampled(self) -> list[SingleAgentEpisode]:
        """Exactly so many steps as the config says, or what there is."""
        fragments = taken(self, self._episodes)
        sampled = [self._episodes.episode(steps) for steps in fragments]
        count = sum(map(len, sampled))
        done = sum(episode.is_done for episode in sampled)
        SingleAgentEnvRunner._increase_sampled_metrics(self, count, done)
        self.num_env_steps_sampled_lifetime += count * max(1, self.config.num_env_runners)
        return sampled

    def policies(self, training: dict[str, Any]) -> tuple[PolicyFile, dict[str, Noise]]:
        network = _exported(self.module, self.config)
        return PolicyFile({DEFAULT_MODULE_ID: network}, {ANYONE: DEFAULT_MODULE_ID}, training), {}

    def epsilon(self) -> float:
        return epsilon_of(self.module, self.num_env_steps_sampled_lifetime)

    def set_weights_of(self, weights: Mapping[str, Any]) -> None:
        self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))

    def get_spaces(self) -> dict[str, tuple[Space, Space]]:
        return _spaces(self.config)


def taken(runner: ExternalEnvRunner, chunks: Chunks) -> list[Steps]:
    """Fragments of exactly so many steps as the config says, or of what there is."""
    behind = runner.connected().newest_version - chunks.left_version
    stale = chunks.forget() if behind > runner.contract.most_staleness else 0
    runner.metrics.log_value(NUM_STEPS_LEFT_STALE, stale, reduce="lifetime_sum")
    wanted = runner.config.get_rollout_fragment_length(runner.worker_index or 0)
    steps = chunks.cut(runner.received(wanted - chunks.left_steps), wanted)
    runner.note_ends(steps)
    return steps


def epsilon_of(module: RLModule, steps: int) -> float:
    """How many actions RLlib's module draws from all alike after so many steps."""
    schedule = getattr(module, "epsilon_schedule", None)
    if schedule is None:
        return 0.0
    schedule.update(steps)
    return float(schedule.get_current_value())


def exported_alone(config: AlgorithmConfig) -> Network:
    """The policy of a config that has its spaces, with weights as they begin.

    Raises:
        ValueError: for a module that cannot be exported.
    """
    return _exported(_module(config), config)


def _spaces(config: AlgorithmConfig) -> dict[str, tuple[Space, Space]]:
    both = config.observation_space, config.action_space
    return {INPUT_ENV_SPACES: both, DEFAULT_MODULE_ID: both}


def _module(config: AlgorithmConfig) -> RLModule:
    return config.get_rl_module_spec(spaces=_spaces(config), inference_only=True).build()


def _exported(module: RLModule, config: AlgorithmConfig) -> Network:
    return exported(module, config.normalize_actions, config.clip_actions)
