"""Agents of a PettingZoo environment that a client plays for, and what they live through."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from external_cases import agent_of, fronted
from gymnasium.spaces import Dict, MultiBinary

from marlserve.policies.export.spaces import Choices, actions_of
from marlserve.policies.sampling.episodes import Episode
from marlserve.serving.client.agent import Agent
from marlserve.serving.trainer.external import external_team
from marlserve.serving.trainer.inlet import Inlet
from marlserve.serving.trainer.runners.sequence_runner import SequenceRunner


def spaces_of(env, masks: bool = False) -> dict[str, tuple]:
    """Of each agent; with masks for those that choose."""
    spaces = {}
    for agent in env.possible_agents:
        seen, played = env.observation_space(agent), env.action_space(agent)
        choices = actions_of(played)
        if masks and isinstance(choices, Choices):
            mask = MultiBinary(int(choices.legal.sum()))
            seen = Dict({"observation": seen, "action_mask": mask})
        spaces[agent] = seen, played
    return spaces


@dataclass
class Lived:
    """One episode, a list by agent of each of these."""

    seen: dict[str, list] = field(default_factory=lambda: defaultdict(list))
    masks: dict[str, list] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, list] = field(default_factory=lambda: defaultdict(list))
    rewards: dict[str, list] = field(default_factory=lambda: defaultdict(list))


def live(agent: Agent, env, episodes: int, seed: int | None = None, state_size: int = 0) -> list:
    """Episodes of a team in `env`, as they were lived through."""
    team, lives = agent.team(), []
    for _ in range(episodes):
        lived, over = Lived(), False
        seen, infos = env.reset(seed=seed)
        seed = None
        while not over:
            legal = {name: info["action_mask"] for name, info in infos.items() if info}
            state = np.ones(state_size, np.float32) if state_size else None
            decisions = team.act(seen, legal or None, state)
            actions = {name: decision.action for name, decision in decisions.items()}
            for name, action in actions.items():
                lived.seen[name].append(seen[name])
                lived.masks[name].append(legal.get(name))
                lived.told[name].append(action)
            seen, rewards, terminated, _, infos = env.step(actions)
            for name, reward in rewards.items():
                decisions[name].reward(reward)
                lived.rewards[name].append(reward)
            over = not env.agents
            seen = {name: seen[name] for name in env.agents or rewards}
        last = {name: info["action_mask"] for name, info in infos.items() if info}
        if all(terminated.values()):
            team.end(terminated=True)
        else:
            team.end(truncated=True, observations=seen, masks=last or None, state=state)
        lives.append(lived)
    return lives


class Lines:
    """A front, an env runner at it that publishes its policies, and a client that has them.

    Attributes:
        runner, agent, inlet: ready to be used.
    """

    def __init__(self, config: Any, spaces: dict[str, tuple], state_size: int = 0, **settings):
        self._front = fronted()
        self.front = self._front.__enter__()
        given = self.front.learner_config, "policy", spaces, state_size
        self.config = external_team(config, *given)
        self.runner = SequenceRunner(config=self.config, worker_index=0)
        self.runner.begin(random_actions=False)
        self.inlet: Inlet = self.runner.connected()
        self.agent = agent_of(self.front, **settings)
        assert self.agent.wait_for_policy(60)

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.close(0.5)
        self.runner.stop()
        self._front.__exit__(None, None, None)


def own_policies(env) -> dict[str, Any]:
    """Arguments of `multi_agent`: each agent has a policy of its own."""
    return {"policies": set(env.possible_agents), "policy_mapping_fn": own_policy}


def own_policy(agent_id: str, episode: Episode | None = None, **kwargs) -> str:
    return agent_id
