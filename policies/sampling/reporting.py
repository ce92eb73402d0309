"""What an env runner tells RLlib about episodes: metrics and callbacks, once per episode.

Beside RLlib's own metrics of episodes there are the problem's, averaged over the same window,
under "problem"; and, if environments fail, how many did and how many steps were lost.
"""

import math

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.env_runner import NUM_ENV_STEP_FAILURES_LIFETIME
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import (
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_AGENT_STEPS,
    EPISODE_DURATION_SEC_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
)

from marlserve.policies.sampling.episodes import Episode

PROBLEM = "problem"
NUM_ENV_STEPS_DROPPED_LIFETIME = "num_env_steps_dropped_lifetime"


class ReportingEnvRunner(MultiAgentEnvRunner):
    """The part of `VectorEnvRunner` that reports.

    Attributes:
        groups: {module_id: indices of its agents}

    Raises:
        ValueError: if the config asks for connectors or `on_episode_step`, which are not run.
    """

    groups: dict[str, np.ndarray]

    def __init__(self, config: AlgorithmConfig, **kwargs):
        _refuse_unsupported(config)
        config = config.copy(copy_frozen=False)
        config.env_runners(  # RLlib takes its time to make them
            add_default_connectors_to_env_to_module_pipeline=False,
            add_default_connectors_to_module_to_env_pipeline=False,
        )
        super().__init__(config=config, **kwargs)

    def get_metrics(self) -> dict:
        return self.metrics.reduce()

    def _log_episodes(self, episodes: list[Episode]) -> None:
        """Log the newest ones: no more than the window of the averages would remember."""
        smoothing = self.config.metrics_num_episodes_for_smoothing
        window = max(1, math.ceil(smoothing / (self.config.num_env_runners or 1)))
        for episode in episodes[-window:]:
            for key, value, reduce in self._measures(episode):
                self.metrics.log_value(key, value, reduce=reduce, window=window)

    def _measures(self, episode: Episode):
        """Every (key, value, reduce) of one episode, RLlib's and the problem's.

        One by one, since `_log_episode_metrics` of RLlib takes four times as long with its trees.
        """
        length, total = len(episode), episode.get_return()
        yield EPISODE_LEN_MEAN, length, "mean"
        yield EPISODE_LEN_MIN, length, "min"
        yield EPISODE_LEN_MAX, length, "max"
        yield EPISODE_RETURN_MEAN, total, "mean"
        yield EPISODE_RETURN_MIN, total, "min"
        yield EPISODE_RETURN_MAX, total, "max"
        yield EPISODE_DURATION_SEC_MEAN, episode.duration_s, "mean"
        for agent, value in episode.agent_returns.items():
            yield (EPISODE_AGENT_RETURN_MEAN, agent), value, "mean"
            yield (EPISODE_AGENT_STEPS, agent), episode.agent_lengths[agent], "mean"
        for module_id, index in self.groups.items():
            value = sum(episode.agent_returns[episode.agent_ids[agent]] for agent in index)
            yield (EPISODE_MODULE_RETURN_MEAN, module_id), value, "mean"
        for name, value in episode.metrics.items():
            yield (PROBLEM, name), value, "mean"

    def _log_failures(self, failures: int, dropped: int) -> None:
        for key, value in (
            (NUM_ENV_STEP_FAILURES_LIFETIME, failures),
            (NUM_ENV_STEPS_DROPPED_LIFETIME, dropped),
        ):
            self.metrics.log_value(key, int(value), reduce="lifetime_sum")

    def _episode_callback(self, name: str, episode: Episode, **kwargs) -> None:
        self._callback(
            name,
            episode=episode,
            env=self.env,
            rl_module=self.module,
            env_index=episode.env_index,
            **kwargs,
        )

    def _callback(self, name: str, **kwargs) -> None:
        make_callback(
            name,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{name}"),
            kwargs={"env_runner": self, "metrics_logger": self.metrics, **kwargs},
        )


def _refuse_unsupported(config: AlgorithmConfig) -> None:
    for name in ("env_to_module_connector", "module_to_env_connector"):
        if getattr(config, f"_{name}") is not None:
            raise ValueError(f"{name} is set, but VectorEnvRunner runs no connectors")
    overridden = any(
        cls.on_episode_step is not RLlibCallback.on_episode_step
        for cls in force_list(config.callbacks_class)
    )
    if overridden or config.callbacks_on_episode_step:
        raise ValueError("a callback on_episode_step is set, but VectorEnvRunner does not call it")
