"""An algorithm of RLlib, or one of ours, told to learn from programs under control.

    with Front(FrontSettings()) as front:
        config = external(
            PPOConfig(), front.learner_config, "scheduler", observation_space, action_space
        )
        algo = config.build_algo()
        algo.train()          # waits for clients of front.address

`external_team` is for agents that act together, {agent: its spaces}; the config's policy mapping
says who of them is played by which policy. An observation space of a Dict of "observation" and
"action_mask" asks clients for masks. What cannot work is an error here, before anything starts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gymnasium.spaces import Space
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from marlserve.policies.export.network import ANYONE
from marlserve.policies.export.spaces import Choices
from marlserve.policies.training.base import PolicyConfig
from marlserve.serving.trainer.limits import Limits, sample_steps
from marlserve.serving.trainer.runners.episode_runner import EpisodeRunner, exported_alone
from marlserve.serving.trainer.runners.joint import Joint
from marlserve.serving.trainer.runners.sequence_runner import SequenceRunner
from marlserve.serving.trainer.runners.team_runner import TeamRunner
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.seats import Seat

BUFFERS = ("MultiAgentEpisodeReplayBuffer", "MultiAgentPrioritizedEpisodeReplayBuffer")


def external(
    config: AlgorithmConfig,
    learner_config: dict[str, Any],
    policy: str,
    observation_space: Space,
    action_space: Space,
    limits: Limits | None = None,
) -> AlgorithmConfig:
    """The config, told to learn from programs whose agents live through episodes of their own.

    Args:
        learner_config: `Front.learner_config`.
        policy: the name that clients ask for.
        limits: what is taken; by default what suits the algorithm.

    Raises:
        ValueError: as `external_team`.
    """
    spaces = {ANYONE: (observation_space, action_space)}
    return external_team(config, learner_config, policy, spaces, 0, limits)


def external_team(
    config: AlgorithmConfig,
    learner_config: dict[str, Any],
    policy: str,
    spaces: Mapping[str, tuple[Space, Space]],
    state_size: int = 0,
    limits: Limits | None = None,
) -> AlgorithmConfig:
    """The config, told to learn from programs whose agents act together in each step.

    Args:
        learner_config: `Front.learner_config`.
        policy: the name that clients ask for.
        spaces: {agent: what it observes and plays}; those of one policy have the same.
        state_size: numbers of the state of all of them, for QMIX.
        limits: what is taken; by default what suits the algorithm.

    Raises:
        ValueError: for an algorithm or a setting that no client can play, spaces that it cannot
            play or a `Seat` cannot have, and what the config's own checks find.
    """
    limits = Limits.of(config) if limits is None else limits
    seats = {agent: Seat.of(*both) for agent, both in spaces.items()}
    if isinstance(config, PolicyConfig):
        config.validate()
        _check_steps(config, limits)
        if getattr(config, "needs_costs", False):
            raise ValueError(
                f"multiplier_lr is {config.multiplier_lr}; programs tell no costs: allowed is 0"
            )
        seats = _of_ours(config, seats, state_size)
        config.env_runners(env_runner_cls=SequenceRunner)
    else:
        _of_rllib(config, seats, state_size)
        if limits.fragment_steps:
            config.env_runners(rollout_fragment_length=limits.fragment_steps)
    contract: Contract = limits.contract(policy, seats, state_size)
    config.environment(env_config={**learner_config, "contract": contract, "limits": limits})
    return config.env_runners(validate_env_runners_after_construction=False)


def _check_steps(config: PolicyConfig, limits: Limits) -> None:
    """A sample is followed by its updates; after a fragment with the steps of several there are
    too few."""
    most = sample_steps(config)
    if limits.most_steps > most:
        raise ValueError(f"most_steps is {limits.most_steps}; allowed are {most}, a sample's")


def _of_ours(config: PolicyConfig, seats: dict[str, Seat], state_size: int) -> dict[str, Seat]:
    """The seats, with what their networks remember."""
    name = config.algo_class.__name__
    if getattr(config, "coherence", 0.0):
        raise ValueError(f"coherence is {config.coherence}; clients explore with 0 alone")
    if config.needs_state and not state_size:
        raise ValueError(
            f"{name} learns from a state of all agents, and state_size is 0; give its size, or "
            "another mixer"
        )
    if state_size and not config.needs_state:
        raise ValueError(f"state_size is {state_size}; {name} learns from no state: it must be 0")
    joint = Joint(config, seats, state_size)
    module = joint.module()
    joint.policies(module, {})  # or it says why it cannot be played
    sizes = joint.memory_sizes(module)
    return {
        agent: replace(seat, memory_size=size)
        for (agent, seat), size in zip(seats.items(), sizes, strict=True)
    }


def _of_rllib(config: AlgorithmConfig, seats: dict[str, Seat], state_size: int) -> None:
    name, ours = config.algo_class.__name__, "those of marlserve.policies do"
    if state_size:
        raise ValueError(f"state_size is {state_size}; RLlib's {name} learns from no state")
    for seat in seats.values():
        if seat.masked:
            raise ValueError(f"RLlib's {name} knows no action masks; {ours}")
        if isinstance(seat.actions, Choices) and seat.actions.start.any():
            raise ValueError(
                f"RLlib's {name} plays choices from 0 on, not {seat.action_space}; {ours}"
            )
    if ANYONE in seats:
        if config.is_multi_agent:
            raise ValueError(
                f"RLlib's {name} has policies {sorted(config.policies)}, and no agents are named"
            )
        seat = seats[ANYONE]
        config.environment(observation_space=seat.observation_space, action_space=seat.action_space)
        config.env_runners(env_runner_cls=EpisodeRunner)
        exported_alone(config)
        return
    _check_team(config, name)
    joint = Joint(config, seats, 0)
    joint.policies(joint.module(), {})  # or it says why it cannot be played
    config.env_runners(env_runner_cls=TeamRunner)


def _check_team(config: AlgorithmConfig, name: str) -> None:
    """What RLlib would stop at once it has begun."""
    if not config.is_multi_agent:
        raise ValueError(
            f"RLlib's {name} has one policy, and agents are named; give it policies and a "
            "policy_mapping_fn with .multi_agent(...)"
        )
    buffer = getattr(config, "replay_buffer_config", None)
    if buffer is not None and not str(buffer["type"]).startswith("MultiAgent"):
        raise ValueError(
            f"the replay buffer is {buffer['type']}; of several agents it must be one of {BUFFERS}"
        )
    for module_id, own in config.algorithm_config_overrides_per_module.items():
        if "epsilon" in own:
            raise ValueError(f"{module_id} has an epsilon of its own; clients explore with one")
