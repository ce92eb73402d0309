"""DQN on transitions, by RLlib's learner in this process: no Ray is started.

The network, 128 wide and three layers deep, the learning rate and the schedule of the target
network are those of the agent service; targets are double, and the network is dueling. Where each
replica has a row of its own, it is one small network for all of them, which plays any number.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Discrete, Space
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.policy.sample_batch import MultiAgentBatch

import marlserve
from marlserve.policies import checkpoint, dqn
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import ANYONE, PolicyFile
from marlserve.policies.models.dqn import DQNModule
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.session import quiet
from marlserve.policies.training.base import shared_policy
from marlserve.policies.training.independent import batch_by_policy
from marlserve.serving.training.logged import Logged
from marlserve.serving.training.transitions import Transitions

TARGET_EVERY = 100  # updates
_MODULE = shared_policy("")
_TIMESTEPS = {"num_env_steps_sampled_lifetime": 0}


class DQNLearner:
    """The learner for what a kind of service sees, with weights as they begin."""

    def __init__(self, logged: Logged, gamma: float = 0.99, lr: float = 1e-3, seed: int = 0):
        quiet()
        self._features = logged.features
        spaces: tuple[Space, Space] = logged.observation_space, Discrete(logged.num_replicas)
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
        network = exported(self._learner.module[_MODULE], True, False, self._features)
        made = {"algorithm": "dqn", "marlserve": marlserve.__version__}
        return PolicyFile({_MODULE: network}, {ANYONE: _MODULE}, made | training)

    def begin_as(self, path: Path) -> None:
        """Take the network of a run, or a checkpoint, of our DQN; the optimizer begins anew.

        Raises:
            ValueError: if it has no such network, or one of other sizes.
        """
        folder = checkpoint.checkpoint_folder(path)
        found = [x for x in checkpoint.modules(folder).values() if isinstance(x, DQNModule)]
        if len(found) != 1:
            raise ValueError(f"{path} has {len(found)} networks of dqn; allowed is 1")
        module = self._learner.module[_MODULE].unwrapped()
        try:
            module.network.load_state_dict(found[0].network.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the network at {path} does not fit: {error}") from error
        module.make_target_networks()

    def save(self, folder: Path) -> None:
        """Weights, targets and the optimizer's state, in a new folder."""
        self._learner.save_to_path(folder)

    def restore(self, folder: Path) -> None:
        """What `save` wrote. It has pickles: only of folders that nobody else writes."""
        self._learner.restore_from_path(folder)


def _batch(transitions: Transitions) -> MultiAgentBatch:
    """Rows of one step of one agent."""
    count = len(transitions.actions)
    seen = np.stack([transitions.observations, transitions.next_observations], axis=1)
    legal = np.ones((count, 2, 1, 1, transitions.next_allowed.shape[1]), bool)
    legal[:, 1, 0, 0] = transitions.next_allowed
    sequences = Sequences(
        {
            "obs": seen[:, :, None],
            "action_mask": legal,
            "active": np.ones((count, 2, 1), bool),
            "actions": transitions.actions[:, None, None],
            "rewards": transitions.rewards[:, None, None],
            "terminated": np.zeros(count, bool),  # traffic goes on
            "length": np.ones(count, np.int64),
            "first": np.zeros(count, bool),
        }
    )
    return batch_by_policy(sequences, {_MODULE: np.arange(1)})
