"""Steps and episodes of one `sample()` call, under the names that RLlib reads them by."""

import numpy as np
from ray.rllib.utils.metrics import (
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from marlserve.policies.sampling.episodes import Episode


class Counts:
    """What one call has sampled so far.

    Attributes:
        env_steps: how many
        episodes: those that ended
        agent_steps: [N], steps in which each agent was active
    """

    def __init__(self, num_agents: int):
        self.env_steps = 0
        self.episodes: list[Episode] = []
        self.agent_steps = np.zeros(num_agents, np.int64)

    def record(self, active: np.ndarray) -> None:
        """One step of some copies, given who was active in them, [copies, N] bool."""
        self.env_steps += len(active)
        self.agent_steps += active.sum(0)

    def log(
        self, metrics: MetricsLogger, agents: tuple[str, ...], groups: dict[str, np.ndarray]
    ) -> None:
        """Log everything once, for this call and for the lifetime."""

        def add(key, lifetime_key, value, **lifetime_options):
            metrics.log_value(key, value, reduce="sum")
            metrics.log_value(lifetime_key, value, reduce="lifetime_sum", **lifetime_options)

        add(
            NUM_ENV_STEPS_SAMPLED,
            NUM_ENV_STEPS_SAMPLED_LIFETIME,
            self.env_steps,
            with_throughput=True,
        )
        add(NUM_EPISODES, NUM_EPISODES_LIFETIME, len(self.episodes))
        for agent, steps in zip(agents, self.agent_steps.tolist(), strict=True):
            add((NUM_AGENT_STEPS_SAMPLED, agent), (NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), steps)
        for module_id, index in groups.items():
            add(
                (NUM_MODULE_STEPS_SAMPLED, module_id),
                (NUM_MODULE_STEPS_SAMPLED_LIFETIME, module_id),
                int(self.agent_steps[index].sum()),
            )
