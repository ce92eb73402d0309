"""The client by the names that RL4Sys gave it, for programs that are written for those.

    agent = RL4SysAgent(conf_path="./luna_conf.json")
    trajectory, action = agent.request_for_action(None, observation)   # tensor, array or list
    agent.add_to_trajectory(trajectory, action)
    action.update_reward(reward)
    agent.mark_end_of_trajectory(trajectory, action)
    agent.close()

The file is what `wire.program` says. A trajectory is an episode, and any number may be in progress
side by side. What is new: truncated episodes may be said to be so, and their last observation told.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from marlserve.policies.export.network import ANYONE
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.decision import Decision
from marlserve.serving.client.episode import Episode
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire.program import Program, read


class RL4SysAction:
    """An action, and its reward.

    Attributes:
        act: what is to be done, an array: [] or [H] of integers, or [*C] of numbers, with a leading
            axis of 1 if the observation had one.
    """

    def __init__(self, decision: Decision, is_batched: bool):
        self.decision = decision
        act = np.array(decision.action)
        self.act = act[None] if is_batched else act

    def update_reward(self, reward: float) -> None:
        """What came of it; once more overrides, until the trajectory is sent.

        Raises:
            ValueError: for a reward that is not finite.
        """
        self.decision.reward(float(reward))


class RL4SysTrajectory:
    """An episode in progress."""

    def __init__(self, episode: Episode):
        self.episode = episode
        self.latest: RL4SysAction | None = None


class RL4SysAgent:
    """See the module.

    Args:
        conf_path: the file, JSON or YAML.
        debug: say more in the log.

    Raises:
        ValueError: for a file that is broken, has unknown keys or bad values.
    """

    def __init__(self, conf_path: str | Path, debug: bool = False):
        if debug:
            logging.getLogger("marlserve.serving.client").setLevel(logging.DEBUG)
        self.agent = Agent(client_settings(read(conf_path)))

    def request_for_action(
        self, traj: RL4SysTrajectory | None, obs: Any, mask: Any = None
    ) -> tuple[RL4SysTrajectory, RL4SysAction]:
        """What to do.

        Args:
            traj: the episode; None begins one.
            obs: what is seen now, [*O], or [1, *O].
            mask: 1 for what may be chosen, 0 for what may not, if the file says `action_masks`;
                with a leading axis of 1 as the observation.

        Raises:
            ValueError: for an observation of another shape, or not finite, and a mask that is not
                asked for, or allows nothing.
        """
        traj = RL4SysTrajectory(self.agent.episode()) if traj is None else traj
        seen, contract = _array(obs), self.agent.link.contract
        seat = None if contract is None else contract.seats.get(ANYONE)
        axes = seen.ndim if seat is None else len(seat.observation_space.shape)
        is_batched = seen.ndim == axes + 1 and len(seen) == 1
        legal = None if mask is None else _array(mask)
        if is_batched:
            seen, legal = seen[0], None if legal is None else legal[0]
        action = RL4SysAction(traj.episode.act(seen, legal), is_batched)
        traj.latest = action
        return traj, action

    def add_to_trajectory(self, traj: RL4SysTrajectory, action: RL4SysAction) -> None:
        """Say that the action was taken.

        Raises:
            ValueError: if it is not the latest one of this trajectory.
        """
        if action is not traj.latest:
            raise ValueError("the action is not the latest one of this trajectory")

    def mark_end_of_trajectory(
        self,
        traj: RL4SysTrajectory,
        action: RL4SysAction,
        truncated: bool = False,
        obs: Any = None,
    ) -> None:
        """The episode is over; the next action begins another one.

        Args:
            truncated: it is cut off, and would have gone on.
            obs: what is seen then.

        Raises:
            ValueError: if the action is not the latest one of this trajectory.
        """
        self.add_to_trajectory(traj, action)
        seen = None if obs is None else _array(obs)
        traj.episode.end(terminated=not truncated, truncated=truncated, observation=seen)
        traj.latest = None

    def close(self) -> None:
        """Send what waits, and hang up."""
        self.agent.close()


def _array(given: Any) -> np.ndarray:
    """Of a tensor, an array or a list."""
    return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)


def client_settings(program: Program) -> ClientSettings:
    """What the file says to a client."""
    return ClientSettings(
        address=program.train_server_address,
        policy=program.client_id,
        client_id=program.client_name,
        token=program.token,
        ca=program.ca,
        send_frequency=program.send_frequency,
        most_steps=program.max_traj_length,
        buffer_steps=max(program.buffer_steps, program.max_traj_length),
        when_full=program.when_full,
        spill_folder=None if program.spill_folder is None else Path(program.spill_folder),
        spill_bytes=program.spill_bytes,
        reward_deadline_s=program.reward_deadline_s,
        default_reward=program.default_reward,
        fallback_action=program.fallback_action,
        evaluator=program.evaluator,
        seed=program.seed,
    )
