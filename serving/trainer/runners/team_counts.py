"""Steps and returns of each agent and policy of a team, by the names that RLlib has for them."""

import numpy as np
from ray.rllib.utils.metrics import EPISODE_AGENT_RETURN_MEAN, EPISODE_MODULE_RETURN_MEAN
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from marlserve.policies.sampling.counts import Counts
from marlserve.policies.sampling.episodes import Episode
from marlserve.serving.trainer.runners.joint import Joint
from marlserve.serving.wire.steps import Steps

_WINDOW = 100  # episodes that means are of


def log(metrics: MetricsLogger, joint: Joint, fragments: list[Steps]) -> int:
    """What these fragments add; how many steps they have."""
    agents, groups = joint.agents, joint.groups
    counts = Counts(len(agents))
    counts.env_steps = sum(map(len, fragments))
    for steps in fragments:
        counts.agent_steps += [len(part) for part in steps.parts]
    ended = [steps for steps in fragments if steps.is_over]
    counts.episodes = [Episode(agents) for _ in ended]
    counts.log(metrics, agents, groups)

    def mean(key: tuple[str, str], value: float) -> None:
        metrics.log_value(key, value, reduce="mean", window=_WINDOW)

    for steps in ended:
        earned = np.array([part.earned for part in steps.parts])
        for agent, value in zip(agents, earned.tolist(), strict=True):
            mean((EPISODE_AGENT_RETURN_MEAN, agent), value)
        for name, index in groups.items():
            mean((EPISODE_MODULE_RETURN_MEAN, name), float(earned[index].sum()))
    return counts.env_steps
