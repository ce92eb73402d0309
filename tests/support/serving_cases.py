"""Policy files whose values are known, and questions for them."""

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.serving.decisions.player import Player
from marlserve.serving.decisions.question import Question, measured

NUM_INPUTS = 10
OBSERVATION = np.full(NUM_INPUTS, 0.5, np.float32)


def policy_file(
    values, slope: float = 0.0, num_inputs: int = NUM_INPUTS, features=(), training=None
) -> PolicyFile:
    """A policy that thinks so of each replica, plus `slope` times the sum of the observation."""
    bias = np.asarray(values, np.float32)
    weights = {"q.weight": np.full((len(bias), num_inputs), slope, np.float32), "q.bias": bias}
    network = Network(
        Box(0.0, 1.0, (num_inputs,)),
        Discrete(len(bias)),
        (Layer("q", "linear", ("observation",), (len(bias),)),),
        weights,
        "action values",
        features=tuple(features),
    )
    return PolicyFile({"shared": network}, {"*": "shared"}, training or {})


def player(values, version: str = "1", published_s: float = 0.0, slope: float = 0.0) -> Player:
    return Player(policy_file(values, slope), version, published_s)


def question(requests=(5, 3, 7), observation=OBSERVATION, allowed=None, **more) -> Question:
    seen = measured(requests)
    legal = np.ones(len(requests), bool) if allowed is None else np.array(allowed)
    return Question(seen, observation, legal, **more)
