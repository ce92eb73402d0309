"""From the file of a program to the config that learns for it: those of `marlserve.policies`.

`algorithm_name` is that of the module: ppo, a2c, dqn, sac, td3, sac_gru, qmix. Bandits are not
among them, see `limits`. `algorithm_parameters` are arguments of the config's `training()`, and
`input_size`, `act_dim` (see `program_spaces`) and `seed`. dqn has defaults of its own here: more
updates of shorter rows, an exploration that takes longer, and a rate that falls.

`agents` of the file, {agent: policy}, are those that act together in each step; who is named with
the same policy shares it. Without it there is one policy, "shared".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marlserve import policies
from marlserve.policies.training.bandit_config import BanditConfig
from marlserve.policies.training.base import PolicyConfig
from marlserve.policies.training.on_policy_config import OnPolicyConfig
from marlserve.serving.trainer.program_spaces import SPACES
from marlserve.serving.wire.program import Program

_BATCH = 2_000  # steps that an on-policy algorithm learns from at once
_BATCH_SIZE = "train_batch_size_per_learner"
_DEFAULTS: dict[str, dict[str, Any]] = {
    "dqn": {  # which land Gymnasium's lander, where those of `policies.dqn` learn to hover
        "lr": [[0, 1e-3], [250_000, 1e-4]],
        "sequence_length": 4,
        "td_lambda": 0.5,
        "tau": 0.005,
        _BATCH_SIZE: 32,
        "replay_capacity": 25_000,
        "epsilon": [[0, 1.0], [30_000, 0.1], [150_000, 0.02]],
    }
}


@dataclass(frozen=True)
class Roles:
    """A `policy_mapping_fn`: which policy plays for which agent."""

    agents: Mapping[str, str]

    def __call__(self, agent_id: str, episode: Any = None, **kwargs: Any) -> str:
        return self.agents[agent_id]


def names() -> list[str]:
    """The algorithms that clients can play."""
    return [name for name in policies.names() if not isinstance(_made(name), BanditConfig)]


def config_of(program: Program) -> PolicyConfig:
    """The config, which knows of no spaces yet.

    Raises:
        ValueError: for an unknown parameter, with those that are known, and a bad value.
    """
    parameters = dict(program.algorithm_parameters)
    seed = parameters.pop("seed", None)
    given = {name: value for name, value in parameters.items() if name not in SPACES}
    training = {**_DEFAULTS.get(program.algorithm_name, {}), **given}
    try:
        config = _made(program.algorithm_name, **training)
        if isinstance(config, OnPolicyConfig):
            # All programs together are one environment.
            config.env_runners(num_envs_per_env_runner=1, rollout_fragment_length="auto")
            config.training(**{_BATCH_SIZE: training.get(_BATCH_SIZE, _BATCH)})
        config.debugging(seed=seed, log_level="ERROR")
        config.env_runners(num_env_runners=0)
        if program.agents is not None:
            roles = Roles(program.agents)
            config.multi_agent(policies={*program.agents.values()}, policy_mapping_fn=roles)
        config.validate()
    except (TypeError, ValueError) as error:
        raise ValueError(f"algorithm_parameters: {error}") from error
    return config


def _made(name: str, **training: Any) -> PolicyConfig:
    config: Any = policies.config(name, **training)
    return config
