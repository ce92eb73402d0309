"""Rows of made-up steps, and learners to feed them to, without Ray."""

from collections import OrderedDict

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from marlserve import policies
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.session import quiet
from marlserve.policies.training.independent import batch_by_policy

quiet()
R, L, N, F = 6, 5, 3, 4  # rows, steps, agents, features
TIMESTEPS = {"num_env_steps_sampled_lifetime": 0}
SPACES = {
    "discrete": Discrete(4),
    "multi_discrete": MultiDiscrete([2, 4]),
    "box": Box(-1, 1, (2,), np.float32),
}


def own_policy(agent_id, episode=None, **kwargs):
    return f"of_{agent_id}"


def make_learner(algorithm="ppo", space="discrete", mapping=None, seed=0, **training):
    torch.manual_seed(seed)
    observation_space, action_space = Box(-9, 9, (F,)), SPACES[space]
    agents = [f"a{i}" for i in range(N)]
    joint = tuple(
        Dict(OrderedDict((agent, x) for agent in agents)) for x in (observation_space, action_space)
    )
    if "hidden_size" not in training:
        training = {"hidden_sizes": [8]} | training
    config = policies.config(algorithm, **{"grad_clip": None} | training)
    names = ["shared"]
    if mapping is not None:
        names = [mapping(agent) for agent in agents]
        config.multi_agent(policies=set(names), policy_mapping_fn=mapping)
    config.validate()
    spaces = {
        INPUT_ENV_SPACES: joint,
        INPUT_ENV_SINGLE_SPACES: joint,
        **dict.fromkeys(names, (observation_space, action_space)),
    }
    learner = config.get_default_learner_class()(
        config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces)
    )
    learner.build()
    return learner


def make_sequences(space="discrete", seed=0) -> Sequences:
    """Rows of several lengths; some terminated; some agents leave; some actions are illegal."""
    random = np.random.default_rng(seed)
    active = np.ones((R, L + 1, N), bool)
    active[1, 3:, 1] = False
    active[4, 1:, 2] = False
    columns = {
        "obs": random.normal(size=(R, L + 1, N, F)).astype(np.float32),
        "state": np.zeros((R, L + 1, 1), np.float32),
        "active": active,
        "rewards": random.normal(size=(R, L, N)).astype(np.float32),
        "terminated": np.array([True, False, True, True, False, False]),
        "length": np.array([5, 5, 3, 1, 4, 5]),
        "first": np.array([True, True, False, True, False, False]),
        "action_logp": random.normal(-1, 0.1, size=(R, L, N)).astype(np.float32),
    }
    if space == "box":
        columns["actions"] = random.normal(size=(R, L, N, 2)).astype(np.float32)
    else:
        sizes = [4] if space == "discrete" else [2, 4]
        mask = random.random((R, L + 1, N, len(sizes), 4)) < 0.7
        mask &= np.arange(4) < np.array(sizes)[:, None]
        mask[..., 0] = True
        chosen = (random.random(mask.shape) * mask)[:, :-1].argmax(-1)
        columns["actions"] = chosen[..., 0] if space == "discrete" else chosen
        columns["action_mask"] = mask
    return Sequences(columns)


def batch_of(learner, sequences):
    groups = {"shared": np.arange(N)}
    if "shared" not in learner.module:
        groups = {f"of_a{i}": np.array([i]) for i in range(N)}
    return batch_by_policy(sequences, groups)


def transitions_of(learner, sequences, module_id="shared"):
    learner.before_gradient_based_update(timesteps=TIMESTEPS)
    return learner.transitions(module_id, batch_of(learner, sequences).policy_batches[module_id])
