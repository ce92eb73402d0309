"""From the file of a program to the config that learns for it: RLlib's own algorithms.

`algorithm_name` is PPO, APPO, DQN or SAC, with defaults that learn small problems, or one of those
of `marlserve.policies`, see `house_algorithms`. `algorithm_parameters` are arguments of the
config's `training()`, and

    input_size, act_dim     the spaces, see `program_spaces`
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

`agents` of the file are as `house_algorithms` says; DQN and SAC have a replay of several agents
then.
"""

from inspect import Parameter, signature
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from marlserve.serving.trainer import house_algorithms
from marlserve.serving.trainer.program_spaces import SPACES
from marlserve.serving.trainer.two_rates import VF_LR, TwoRates
from marlserve.serving.wire.program import TYPES, Program

_REPLAY = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 50_000, "alpha": 0.6, "beta": 0.4}
_TEAM_REPLAY = "MultiAgentPrioritizedEpisodeReplayBuffer"
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
_ON_POLICY = ("PPO", "APPO", "ppo", "a2c")
_ALSO = {"vf_lr", "train_v_iters", "target_kl"}
_OURS = {*SPACES, "seed", "hidden_sizes", "activation"}


def config_of(program: Program) -> AlgorithmConfig:
    """The config, which knows of no spaces yet.

    Raises:
        ValueError: for an unknown algorithm or parameter, with those that are known, a bad value,
            or a `type` that the algorithm is not of.
    """
    name = program.algorithm_name
    if name not in CONFIGS and name not in house_algorithms.names():
        allowed = [*sorted(CONFIGS), *house_algorithms.names()]
        raise ValueError(f"algorithm_name is {name!r}; allowed are {allowed}")
    if program.type and TYPES[program.type] != (name in _ON_POLICY):
        raise ValueError(f"type is {program.type!r}; {name} is the other one")
    if name not in CONFIGS:
        return house_algorithms.config_of(program)
    made, defaults = CONFIGS[name]
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
    if program.agents is not None:
        roles = house_algorithms.Roles(program.agents)
        config.multi_agent(policies={*program.agents.values()}, policy_mapping_fn=roles)
        if "replay_buffer_config" in defaults and "replay_buffer_config" not in given:
            training["replay_buffer_config"] = _REPLAY | {"type": _TEAM_REPLAY}
    try:
        return config.training(**training)
    except (TypeError, ValueError) as error:
        raise ValueError(f"algorithm_parameters: {error}") from error


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
