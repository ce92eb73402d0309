"""What the algorithms of `marlserve.policies` sample from programs: rows of all agents' steps.

A sample has as many steps as the config would have an environment sample, and as the last fragment
has more; the next sample has so many less. No fragment has more than a sample.
"""

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.utils.schedules.scheduler import Scheduler

from marlserve.policies.sampling.sequences import Sequences
from marlserve.serving.trainer.limits import sample_steps
from marlserve.serving.trainer.runners.joint_runner import JointRunner
from marlserve.serving.trainer.runners.rows import Rows


class SequenceRunner(JointRunner):
    """See the module."""

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        given: Any = self.config
        memory = self.joint.first_memory(self.module)
        self._rows = Rows(
            self.joint,
            given.sequence_length,
            () if memory is None else memory.shape[1:],
            Columns.ACTION_LOGP in getattr(given, "sequence_columns", ()),
        )
        self._ahead = 0  # steps that were sampled before it was their time

    def sampled(self) -> list[Sequences]:
        """As rows; see the module."""
        config: Any = self.config
        wanted = sample_steps(config) - self._ahead
        fragments = self.received(wanted)
        self._ahead += sum(map(len, fragments)) - sample_steps(config)
        self._ahead = max(self._ahead, 0)  # what nobody sent is not made up for
        self.note_steps(fragments)
        self.note_ends(fragments)
        return self._rows.sequences(fragments)

    def epsilon(self) -> float:
        """Of a schedule of Q-learners; and 1 while TD3 begins with random actions."""
        steps = self.num_env_steps_sampled_lifetime
        if steps < getattr(self.config, "random_timesteps", 0):
            return 1.0
        schedule = getattr(self.config, "epsilon", None)
        return 0.0 if schedule is None else float(Scheduler(schedule).update(steps))
