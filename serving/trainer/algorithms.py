"""From the file of a program to the RLlib config that learns for it.

`algorithm_name` is PPO, APPO, DQN or SAC, RLlib's own, with defaults that learn small problems.
`algorithm_parameters` are arguments of the config's `training()`, and

    input_size, act_dim     the spaces, a Box without bounds and Discrete, unless they are given
    seed                    of the weights as they begin, and of what the learner draws
    hidden_sizes            widths of the layers, [64, 64]
    activation              "tanh" or "relu"

and, for PPO, what RL4Sys calls by other names:

    traj_per_epoch          steps of a batch                      train_batch_size_per_learner
    batch_size              steps of a minibatch, the batch       minibatch_size
                            at most
    clip_ratio, lam         of the loss, of the advantages        clip_param, lambda_
    pi_lr, vf_lr            rates of the actor and the critic
    train_pi_iters          epochs; train_v_iters is the same     num_epochs
    ent_coef, vf_coef       weights in the loss                   entropy_coeff, vf_loss_coeff
    target_kl               null, since no epoch ends early
"""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from marlserve.policies.export import spaces
from marlserve.policies.export.spaces import ActionSpace
from marlserve.serving.trainer.two_rates import VF_LR, TwoRates
from marlserve.serving.wire.program import TYPES, Program

_REPLAY = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 50_000, "alpha": 0.6, "beta": 0.4}
CONFIGS: dict[str, tuple[type[AlgorithmConfig], dict[str, Any]]] = {
    "PPO": (
        PPOConfig,
        {
            "lr": 3e-4,
            "train_batch_size_per_learner": 2_000,
            "minibatch_size": 250,
            "num_epochs": 8,
            "lambda_": 0.95,
            "vf_clip_param": 1e6,  # values may be as large as returns are
            "vf_loss_coeff": 0.5,
        },
    ),
    "APPO": (
        APPOConfig,
        {"lr": 5e-4, "train_batch_size_per_learner": 500, "vf_loss_coeff": 0.5},
    ),
    "DQN": (
        DQNConfig,
        {
            "lr": 5e-4,
            "train_batch_size_per_learner": 64,
            "target_network_update_freq": 500,
            "num_steps_sampled_before_learning_starts": 1_000,
            "training_intensity": 16.0,  # steps that are learned from, for each one sampled
            "replay_buffer_config": _REPLAY,
        },
    ),
    "SAC": (
        SACConfig,
        {
            "train_batch_size_per_learner": 128,
            "num_steps_sampled_before_learning_starts": 1_000,
            "training_intensity": 16.0,
            "replay_buffer_config": _REPLAY,
        },
    ),
}
_RL4SYS = {
    "traj_per_epoch": "train_batch_size_per_learner",
    "batch_size": "minibatch_size",
    "clip_ratio": "clip_param",
    "lam": "lambda_",
    "pi_lr": "lr",
    "train_pi_iters": "num_epochs",
    "ent_coef": "entropy_coeff",
    "vf_coef": "vf_loss_coeff",
}
_ALSO = {"vf_lr", "train_v_iters", "target_kl"}
_OURS = {"input_size", "act_dim", "seed", "hidden_sizes", "activation"}


def config_of(program: Program) -> AlgorithmConfig:
    """The config, which lacks the spaces.

    Raises:
        ValueError: for an unknown algorithm or parameter, with those that are known, a bad value,
            or a `type` that the algorithm is not of.
    """
    if program.algorithm_name not in CONFIGS:
        raise ValueError(
            f"algorithm_name is {program.algorithm_name!r}; allowed are {sorted(CONFIGS)}"
        )
    made, defaults = CONFIGS[program.algorithm_name]
    is_on_policy = program.algorithm_name in ("PPO", "APPO")
    if program.type and TYPES[program.type] != is_on_policy:
        raise ValueError(f"type is {program.type!r}; {program.algorithm_name} is the other one")
    given = dict(program.algorithm_parameters)
    config = made()
    known = _settings(made) | _OURS
    known |= {*_RL4SYS, *_ALSO} if program.algorithm_name == "PPO" else set()
    if unknown := sorted(set(given) - known):
        raise ValueError(f"unknown algorithm_parameters {unknown}; known are {sorted(known)}")
    config.debugging(seed=given.get("seed"), log_level="ERROR")
    config.learners(num_learners=0)
    config.env_runners(num_env_runners=0)
    config.rl_module(
        model_config=DefaultModelConfig(
            fcnet_hiddens=list(given.get("hidden_sizes", [64, 64])),
            fcnet_activation=given.get("activation", "tanh"),
            vf_share_layers=False,
        )
    )
    training = {**defaults, **{k: v for k, v in given.items() if k not in _OURS}}
    if program.algorithm_name == "PPO":
        training = _translated(training, config)
    try:
        return config.training(**training)
    except (TypeError, ValueError) as error:
        raise ValueError(f"algorithm_parameters: {error}") from error


def spaces_of(program: Program) -> tuple[Box, ActionSpace]:
    """What is observed, and what is played.

    Raises:
        ValueError: if the file does not say so.
    """
    parameters = program.algorithm_parameters
    if program.observation_space is not None:
        given = spaces.from_json(program.observation_space)
        if not isinstance(given, Box):
            raise ValueError(f"the observation space is {given}; it must be a Box")
        observations = given
    else:
        size = _size(parameters, "input_size", "observation_space")
        observations = Box(-np.inf, np.inf, (size,), np.float32)
    if program.action_space is not None:
        return observations, spaces.from_json(program.action_space)
    return observations, Discrete(_size(parameters, "act_dim", "action_space"))


def _size(parameters: Mapping[str, Any], name: str, instead: str) -> int:
    size = parameters.get(name)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"{name} is {size!r}; allowed is at least 1, or give {instead}")
    return size


def _translated(training: dict[str, Any], config: AlgorithmConfig) -> dict[str, Any]:
    """RL4Sys's names as RLlib's."""
    if training.pop("target_kl", None) is not None:
        raise ValueError("target_kl is given; allowed is null: no epoch ends early")
    epochs = training.get("train_pi_iters", training.get("num_epochs"))
    if training.pop("train_v_iters", epochs) != epochs:
        raise ValueError("train_v_iters is not train_pi_iters; one epoch trains both")
    vf_lr = training.pop("vf_lr", None)
    for theirs, ours in _RL4SYS.items():
        if theirs in training:
            training[ours] = training.pop(theirs)
    most = training["train_batch_size_per_learner"]
    training["minibatch_size"] = min(training["minibatch_size"], most)
    if vf_lr is not None:
        config.learners(learner_class=TwoRates)
        training["learner_config_dict"] = {VF_LR: vf_lr}
    return training


def _settings(config: type[AlgorithmConfig]) -> set[str]:
    """The arguments of `training()`."""
    methods = [vars(base)["training"] for base in config.__mro__ if "training" in vars(base)]
    parameters = [each for method in methods for each in signature(method).parameters.values()]
    return {each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY}
