"""From the file of a program to the config that learns for it."""

import pytest

from marlserve import policies
from marlserve.serving.trainer import house_algorithms
from marlserve.serving.trainer.algorithms import CONFIGS, config_of
from marlserve.serving.trainer.learner import configured
from marlserve.serving.wire.program import Program

NOWHERE = {"address": "127.0.0.1:1", "secret": ""}
SPACES = {"input_size": 4, "act_dim": 2}


def program(algorithm_name: str, parameters: dict, **more) -> Program:
    return Program("policy", algorithm_name, SPACES | parameters, **more)


@pytest.mark.parametrize("name", [*CONFIGS, *house_algorithms.names()])
def test_every_algorithm_is_ready_to_be_built(name):
    """RLlib asks configs to validate what they are evaluated with, too."""
    more = {"state_size": 3, "agents": {"a": "one", "b": "one"}} if name == "qmix" else {}
    batch = {"train_batch_size_per_learner": 512} if name in ("PPO", "ppo", "a2c") else {}
    config = configured(program(name, batch, **more), NOWHERE)
    config.validate()
    config.get_evaluation_config_object().validate()
    if batch:
        assert config.total_train_batch_size == 512


def test_what_rl4sys_calls_by_other_names():
    told = {"traj_per_epoch": 600, "batch_size": 100, "clip_ratio": 0.1, "lam": 0.9, "pi_lr": 1e-4}
    told |= {"train_pi_iters": 3, "train_v_iters": 3, "ent_coef": 0.02, "target_kl": None}
    config = config_of(program("PPO", told, type="onpolicy"))
    assert (config.train_batch_size_per_learner, config.minibatch_size) == (600, 100)
    assert (config.clip_param, config.lambda_, config.lr) == (0.1, 0.9, 1e-4)
    assert (config.num_epochs, config.entropy_coeff) == (3, 0.02)


def test_dqn_has_defaults_of_its_own_which_the_file_may_change():
    config = configured(program("dqn", {"td_lambda": 0.9, "lr": 1e-3}), NOWHERE)
    assert (config.td_lambda, config.lr) == (0.9, 1e-3)
    assert (config.sequence_length, config.tau) == (4, 0.005)
    assert policies.config("dqn").sequence_length == 8


@pytest.mark.parametrize(
    ("name", "parameters", "more", "what"),
    [
        ("A3C", {}, {}, "algorithm_name is 'A3C'; allowed are"),
        ("PPO", {"colour": 1}, {}, r"unknown algorithm_parameters \['colour'\]; known are"),
        ("ppo", {"colour": 1}, {}, "colour"),
        ("PPO", {"target_kl": 0.1}, {}, "allowed is null"),
        ("DQN", {}, {"type": "onpolicy"}, "DQN is the other one"),
        ("PPO", {"train_pi_iters": 2, "train_v_iters": 3}, {}, "one epoch trains both"),
    ],
)
def test_what_is_wrong_is_said(name, parameters, more, what):
    with pytest.raises(ValueError, match=what):
        config_of(program(name, parameters, **more))


def test_a_constraint_that_programs_do_not_tell_of_is_refused():
    with pytest.raises(ValueError, match="multiplier_lr is 0.1; programs tell no costs"):
        configured(program("ppo", {"multiplier_lr": 0.1}), NOWHERE)
