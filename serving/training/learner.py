"""DQN on transitions, by RLlib's learner in this process: no Ray is started.

The network, 128 wide and three layers deep, the learning rate and the schedule of the target
network are those of the agent service; targets are double, and the network is dueling.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.policy.sample_batch import MultiAgentBatch

import marlserve
from marlserve.policies import dqn
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import ANYONE, PolicyFile
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.session import quiet
from marlserve.policies.training.base import shared_policy
from marlserve.policies.training.independent import batch_by_policy
from marlserve.serving.replica_state import encoded, features
from marlserve.serving.training.transitions import Transitions

TARGET_EVERY = 100  # updates
_MODULE = shared_policy("")
_TIMESTEPS = {"num_env_steps_sampled_lifetime": 0}


class DQNLearner:
    """The learner for R replicas, with weights as they begin."""

    def __init__(self, num_replicas: int, gamma: float = 0.99, lr: float = 1e-3, seed: int = 0):
        quiet()
        self.num_replicas = num_replicas
        observations = Box(0.0, 1.0, (len(features(num_replicas)),), np.float32)
        spaces: tuple[Space, Space] = observations, Discrete(num_replicas)
        joint = tuple(Dict(OrderedDict(agent=space)) for space in spaces)
        config = dqn.config(
            hidden_sizes=[128, 128, 128],
            gamma=gamma,
            lr=lr,
            grad_clip=1.0,
            sequence_length=1,
            td_lambda=0.0,
            updates_per_step=1,
            target_network_update_freq=TARGET_EVERY,
            tau=1.0,
        )
        config.debugging(seed=seed)
        config.validate()
        spec = config.get_multi_rl_module_spec(
            spaces={INPUT_ENV_SPACES: joint, INPUT_ENV_SINGLE_SPACES: joint, _MODULE: spaces}
        )
        learner_class: Any = config.get_default_learner_class()
        self._learner = learner_class(config=config, module_spec=spec)
        self._learner.build()

    def update(self, transitions: Transitions) -> float:
        """One update of the weights; the loss before it."""
        results = self._learner.update(batch=_batch(transitions), timesteps=_TIMESTEPS)
        return float(results[_MODULE]["total_loss"].peek())

    def policy_file(self, training: dict[str, Any]) -> PolicyFile:
        """What it has learned.

        Args:
            training: where it is from, JSON.

        Raises:
            ValueError: for weights that are not finite.
        """
        network = exported(self._learner.module[_MODULE], True, False, features(self.num_replicas))
        made = {"algorithm": "dqn", "marlserve": marlserve.__version__}
        return PolicyFile({_MODULE: network}, {ANYONE: _MODULE}, made | training)

    def save(self, folder: Path) -> None:
        """Weights, targets and the optimizer's state, in a new folder."""
        self._learner.save_to_path(folder)

    def restore(self, folder: Path) -> None:
        """What `save` wrote. It has pickles: only of folders that nobody else writes."""
        self._learner.restore_from_path(folder)


def _batch(transitions: Transitions) -> MultiAgentBatch:
    """Rows of one step of one agent."""
    count = len(transitions.actions)
    seen = np.stack([encoded(transitions.states), encoded(transitions.next_states)], axis=1)
    sequences = Sequences(
        {
            "obs": seen[:, :, None],
            "active": np.ones((count, 2, 1), bool),
            "actions": transitions.actions[:, None, None],
            "rewards": transitions.rewards[:, None, None],
            "terminated": np.zeros(count, bool),  # traffic goes on
            "length": np.ones(count, np.int64),
            "first": np.zeros(count, bool),
        }
    )
    return batch_by_policy(sequences, {_MODULE: np.arange(1)})
