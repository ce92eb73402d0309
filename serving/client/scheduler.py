"""An example: a program that schedules jobs, and learns to from the trainer that it is named.

    python -m marlserve.serving.trainer --config jobs.json
    python -m marlserve.serving.client.scheduler --config jobs.json --most-steps 300000

It owns its main loop: clusters side by side, see `marlserve.envs.job_scheduling`, whose fields are
flags. Each has a queue of its own, and episodes of its own to the trainer; a step is a decision of
one of them. `jobs.json` says `"action_masks": true`, and `"observation_space"` and `"action_space"`
as the problem has them. A line every ten seconds, and one as it ends, has the decisions so far, the
mean return of the latest 100 episodes, and what decisions take.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marlserve.envs.job_scheduling import Config, Problem
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.course import USUAL, Course, Enough, main
from marlserve.serving.client.rl4sys import client_settings
from marlserve.serving.wire.program import read

SHOWN = Config(max_visible=16)  # of so many jobs nearly as much is told as of 128


@dataclass(frozen=True)
class Step:
    """What came of one decision in each of B clusters."""

    actions: np.ndarray  # [B]
    rewards: np.ndarray  # [B]
    returns: list[float]  # of the episodes that it ended


class Clusters:
    """B clusters that a client schedules, each in an episode of its own.

    Args:
        agent: the client.
        problem: B copies.
        seed: of copy 0; that of copy b is seed + b.

    Raises:
        ValueError: for a problem whose clusters work together, which are a team; and a bad seed.
    """

    def __init__(self, agent: Agent, problem: Problem, seed: int = 0):
        if problem.config.clusters:
            raise ValueError(f"clusters is {problem.config.clusters}; this program has lone ones")
        self._problem = problem
        self._episodes = [agent.episode(f"cluster_{b}") for b in range(problem.num_envs)]
        self._earned = np.zeros(problem.num_envs)
        self._seen = problem.reset([seed + b for b in range(problem.num_envs)])

    def step(self) -> Step:
        """A decision in each of them; where that was the last one, new jobs come."""
        problem, seen, masks = self._problem, self._seen[:, 0], self._problem.action_masks()
        decisions = [episode.act(seen[b], masks[b, 0]) for b, episode in enumerate(self._episodes)]
        actions = np.array([decision.action for decision in decisions])
        self._seen, rewards, terminated, _ = problem.step(actions[:, None])
        for decision, reward in zip(decisions, rewards[:, 0].tolist(), strict=True):
            decision.reward(reward)
        self._earned += rewards[:, 0]
        ended = np.flatnonzero(terminated)
        returns = self._earned[ended].tolist()
        for b in ended:
            self._episodes[b].end(terminated=True)
        if len(ended):
            self._earned[ended] = 0.0
            self._seen = problem.reset(copies=ended)
        return Step(actions, rewards[:, 0], returns)


def run(
    config: Path,
    enough: Enough = USUAL,
    problem: Config = SHOWN,
    num_envs: int = 64,
    seed: int = 0,
) -> None:
    """Schedule until it is enough; episodes are broken off then.

    Args:
        config: the file that the trainer has, too.
        enough: when that is.
        problem: what jobs there are, and what is done about them.
        num_envs: clusters side by side.
        seed: of the jobs.
    """
    copies = Problem(problem, num_envs)
    with Agent(client_settings(read(config))) as agent:
        clusters, course = Clusters(agent, copies, seed), Course(agent, enough)
        while not course.is_over:
            course.note(num_envs, clusters.step().returns)


if __name__ == "__main__":
    main(run, __doc__)
