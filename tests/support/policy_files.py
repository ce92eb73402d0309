"""RLModules with random weights, of all algorithms and shapes, and checkpoints of them.

No algorithm is built: a checkpoint has what one that an algorithm saved has of its policies.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.core.rl_module.rl_module import RLModule

from marlserve.policies.models.actor_critic import ActorCriticModule
from marlserve.policies.models.dqn import DQNModule
from marlserve.policies.models.neural_linear import NeuralLinearModule
from marlserve.policies.models.neural_ucb import NeuralUCBModule
from marlserve.policies.models.q_agent import QAgentModule
from marlserve.policies.models.sac import SACModule
from marlserve.policies.models.sac_gru import SACGRUModule
from marlserve.policies.models.td3 import TD3Module
from marlserve.policies.qmix import QMIX

VECTOR, MATRIX = Box(-9, 9, (5,)), Box(-np.inf, np.inf, (3, 4))
ONE, UNEVEN, EACH = Discrete(4, start=2), MultiDiscrete([2, 4]), MultiDiscrete([3, 3, 3])
CHOICE = Discrete(3)  # of one of the three things that MATRIX describes
NUMBERS, NUMBER_EACH = Box(np.float32([-1, 0]), np.float32([2, 5])), Box(-3, 3, (3,))
UNBOUNDED = Box(np.float32([-np.inf, -1]), np.float32([0.5, np.inf]))

_NETWORK = {"network": "auto", "hidden_size": 8, "use_gru": True, "embedding_size": 0}
_Q = {**_NETWORK, "epsilon": 0.0, "coherence": 0.0, "double_q": True, "burn_in": 0}
_SAC = {**_NETWORK, "initial_alpha": 0.1, "burn_in": 0}
_ACTOR = {"network": "auto", "hidden_size": 8, "embedding_size": 0, "hidden_sizes": [8, 7]}
_DQN = {**_ACTOR, "epsilon": 0.0, "double_q": True}
_SIZES = {"hidden_sizes": [8, 7], "initial_alpha": 0.1}
_UCB = {
    "hidden_sizes": [6, 5],
    "ucb_beta": 1.0,
    "ridge": 0.7,
    "uncertainty_coef": 0.0,
    "standardize_contexts": True,
}


@dataclass(frozen=True)
class Case:
    """A module to be made."""

    module: type[RLModule]
    observation_space: Box
    action_space: Any
    model_config: dict


CASES = {
    "ppo": Case(ActorCriticModule, VECTOR, ONE, _ACTOR),
    "ppo-dials": Case(ActorCriticModule, MATRIX, UNEVEN, _ACTOR),
    "ppo-numbers": Case(ActorCriticModule, VECTOR, NUMBERS, _ACTOR),
    "ppo-unbounded": Case(ActorCriticModule, VECTOR, UNBOUNDED, _ACTOR),
    "ppo-each": Case(ActorCriticModule, MATRIX, EACH, {**_ACTOR, "embedding_size": 2}),
    "ppo-number-each": Case(ActorCriticModule, MATRIX, NUMBER_EACH, _ACTOR),
    "ppo-choice": Case(ActorCriticModule, MATRIX, CHOICE, _ACTOR),
    "qmix": Case(QAgentModule, VECTOR, ONE, _Q),
    "qmix-choice": Case(QAgentModule, MATRIX, CHOICE, _Q),
    "qmix-dials": Case(QAgentModule, MATRIX, UNEVEN, {**_Q, "use_gru": False}),
    "qmix-each": Case(QAgentModule, MATRIX, EACH, {**_Q, "embedding_size": 2}),
    "qmix-each-no-memory": Case(QAgentModule, MATRIX, EACH, {**_Q, "use_gru": False}),
    "sac_gru": Case(SACGRUModule, VECTOR, UNEVEN, _SAC),
    "sac_gru-choice": Case(SACGRUModule, MATRIX, CHOICE, _SAC),
    "sac_gru-numbers": Case(SACGRUModule, VECTOR, NUMBERS, _SAC),
    "sac_gru-each": Case(SACGRUModule, MATRIX, EACH, {**_SAC, "embedding_size": 2}),
    "sac_gru-number-each": Case(SACGRUModule, MATRIX, NUMBER_EACH, _SAC),
    "sac_gru-no-memory": Case(SACGRUModule, VECTOR, NUMBERS, {**_SAC, "use_gru": False}),
    "dqn": Case(DQNModule, MATRIX, ONE, _DQN),
    "dqn-choice": Case(DQNModule, MATRIX, CHOICE, _DQN),
    "sac": Case(SACModule, VECTOR, ONE, _SIZES),
    "sac-dials": Case(SACModule, VECTOR, UNEVEN, _SIZES),
    "sac-numbers": Case(SACModule, VECTOR, NUMBERS, _SIZES),
    "td3": Case(TD3Module, VECTOR, NUMBERS, _SIZES),
    **{
        f"{name}-{shape}": Case(module, Box(-9, 9, shape), Discrete(4), {**_UCB, **own})
        for name, module, own in (
            ("neural_ucb", NeuralUCBModule, {"covariance": "diagonal"}),
            ("neural_ucb-full", NeuralUCBModule, {"covariance": "full"}),
            ("neural_linear", NeuralLinearModule, {"num_networks": 2}),
        )
        for shape in ((5,), (4, 5))
    },
}


def made(case: str, seed: int = 0, **model_config) -> RLModule:
    """The module, with all of its numbers at random; deviations are positive."""
    config = CASES[case]
    module = config.module(
        observation_space=config.observation_space,
        action_space=config.action_space,
        inference_only=True,
        model_config={**config.model_config, **model_config},
    )
    random = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    for name, values in state.items():
        if values.is_floating_point():
            values.normal_(0.0, 0.5, generator=random)
        if name.endswith("deviation"):
            values.abs_().add_(0.5)
    module.load_state_dict(state)
    return module.eval()


def same_for_all(agent: str, episode=None, **kwargs) -> str:
    return "shared"


def own_policy(agent: str, episode=None, **kwargs) -> str:
    return f"of_{agent}"


def write_checkpoint(folder: Path, modules: dict[str, RLModule], mapping=same_for_all) -> Path:
    """A checkpoint's folder with these policies."""
    settings = {
        "policy_mapping_fn": mapping,
        "normalize_actions": True,
        "clip_actions": False,
        "env": None,
        "env_config": {"problem": "load_balance"},
        "seed": 7,
    }
    constructor = {"class": QMIX, "ctor_args_and_kwargs": ((settings,), {})}
    for name, module in modules.items():
        module.save_to_path(folder / "learner_group" / "learner" / "rl_module" / name)
    (folder / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(constructor))
    (folder / "env_runner").mkdir()
    steps = {"num_env_steps_sampled_lifetime": 1234}
    (folder / "env_runner" / "state.pkl").write_bytes(pickle.dumps(steps))
    return folder


def observations(case: str, rng: np.random.Generator, batch: int, agents=("a0", "a1")) -> dict:
    """{agent: [batch, *O]}."""
    shape = (batch, *CASES[case].observation_space.shape)
    return {agent: rng.normal(0, 2, shape).astype(np.float32) for agent in agents}


def masks(case: str, rng: np.random.Generator, batch: int, agents=("a0", "a1")) -> dict | None:
    """{agent: [batch, H, A]}, with something legal everywhere; None for `Box`."""
    space = CASES[case].action_space
    if isinstance(space, Box):
        return None
    sizes = np.atleast_1d(space.n if isinstance(space, Discrete) else space.nvec)
    result = {}
    for agent in agents:
        mask = rng.random((batch, len(sizes), sizes.max())) < 0.6
        mask[..., 0] |= ~mask[..., : sizes.min()].any(-1)
        result[agent] = mask
    return result
