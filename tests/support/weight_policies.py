"""Policy files for load balancers whose weights are known."""

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from marlserve.envs.load_balance import FEATURES, Config
from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile

CONFIG = Config(cores=(2, 2, 4), weight_levels=(0.5, 1.0, 2.0), num_balancers=1)


def policy_file(levels=(2, 0, 1), slope: float = 0.0, config: Config = CONFIG) -> PolicyFile:
    """A policy that chooses these levels, index by server, whatever it sees; of a slope beyond
    float32 its outputs are not finite."""
    servers, count = config.num_servers, len(config.weight_levels)
    bias = np.zeros((servers, count), np.float32)
    bias[np.arange(servers), list(levels)] = 1.0
    shape = (servers, len(FEATURES))
    weights = {
        "logits.weight": np.full((servers * count, np.prod(shape)), slope, np.float32),
        "logits.bias": bias.ravel(),
    }
    layers = (
        Layer("flat", "flatten", ("observation",), (int(np.prod(shape)),)),
        Layer("logits", "linear", ("flat",), (servers * count,)),
    )
    space = Box(0.0, 1.0, shape)
    network = Network(space, MultiDiscrete([count] * servers), layers, weights, "logits")
    interface = {
        name: getattr(config, name) for name in ("cores", "num_balancers", "weight_levels")
    }
    training = {"experiment": {"env_config": interface}}
    return PolicyFile({"shared": network}, {"*": "shared"}, training)
