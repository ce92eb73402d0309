"""Tiny PettingZoo parallel environments, each to show one thing.

Constructors take keyword arguments, so that `PettingZooEnv` can make them ("toys:TwoStep").
"""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from toy_base import Toy


class TwoStep(Toy):
    """The two-step game of the QMIX paper (Rashid et al. 2018, section 5.1).

    The first agent's first action chooses a matrix game: always 7, or [[0, 1], [1, 8]]. The
    optimum is 8; a sum of individual values settles for 7. The team's reward is shared equally.
    Every agent sees the state and who it is.
    """

    def __init__(self):
        super().__init__(2, Box(0, 1, (5,), np.float32), Discrete(2))
        self.state_space = Box(0, 1, (3,), np.float32)

    def start(self):
        self.stage = 0

    def state(self):
        return np.eye(3, dtype=np.float32)[self.stage]

    def observations(self):
        return {
            agent: np.concatenate([self.state(), np.eye(2, dtype=np.float32)[i]])
            for i, agent in enumerate(self.possible_agents)
        }

    def step(self, actions):
        if self.stage == 0:
            self.stage = 1 if actions["a0"] == 0 else 2
            return self.outcome([0.0, 0.0])
        matrix = np.full((2, 2), 7.0) if self.stage == 1 else np.array([[0.0, 1.0], [1.0, 8.0]])
        reward = matrix[actions["a0"], actions["a1"]]
        return self.outcome([reward / 2, reward / 2], terminated=True)


class Recall(Toy):
    """Each agent sees its cue at the first step only, waits, then must name it: reward 1 each.

    Action 0 is the only legal one until the last step, where it is the only illegal one.
    """

    def __init__(self, num_agents: int = 2, num_cues: int = 3, delay: int = 3):
        self.num_cues, self.delay = num_cues, delay
        self.width = num_cues + 1 + num_agents
        observation = Dict(
            {
                "observation": Box(0, 1, (self.width,), np.float32),
                "action_mask": Box(0, 1, (num_cues + 1,), np.int8),
            }
        )
        super().__init__(num_agents, observation, Discrete(num_cues + 1))
        self.state_space = Box(0, 1, (num_agents * num_cues + 1,), np.float32)

    def start(self):
        self.cues = self.random.integers(self.num_cues, size=len(self.possible_agents))

    def state(self):
        cues = np.eye(self.num_cues, dtype=np.float32)[self.cues].ravel()
        return np.append(cues, np.float32(self.time / self.delay))

    def observations(self):
        asked = self.time >= self.delay
        seen = {}
        for i, agent in enumerate(self.possible_agents):
            observation = np.zeros(self.width, np.float32)
            if self.time == 0:
                observation[self.cues[i]] = 1.0
            observation[self.num_cues] = float(asked)
            observation[self.num_cues + 1 + i] = 1.0
            mask = np.full(self.num_cues + 1, asked, np.int8)
            mask[0] = not asked
            seen[agent] = {"observation": observation, "action_mask": mask}
        return seen

    def step(self, actions):
        over = self.time == self.delay
        self.time = min(self.time + 1, self.delay)
        named = [float(over and actions[a] == 1 + self.cues[i]) for i, a in enumerate(self.agents)]
        return self.outcome(named, terminated=over)


class Counting(Toy):
    """Observations tell the episode: [its random number, its index, the step, the agent].

    The reward is the sum of the observation and the action, so that nothing can be mixed up
    unnoticed. Episodes have `length` steps, or 1 to `length` at random; they are truncated, or
    terminated if so asked.
    """

    def __init__(
        self,
        num_agents: int = 2,
        length: int = 5,
        random_length: bool = False,
        terminates: bool = False,
    ):
        super().__init__(num_agents, Box(-np.inf, np.inf, (4,), np.float32), Discrete(3))
        self.length, self.random_length, self.terminates = length, random_length, terminates
        self.episode = -1

    def start(self):
        self.episode += 1
        self.number = np.float32(self.random.random())
        self.end = (
            int(self.random.integers(1, self.length + 1)) if self.random_length else self.length
        )

    def observations(self):
        return {
            agent: np.array([self.number, self.episode, self.time, i], np.float32)
            for i, agent in enumerate(self.possible_agents)
        }

    def step(self, actions):
        seen = self.observations()
        rewards = [float(seen[agent].sum() + actions[agent]) for agent in self.agents]
        self.time += 1
        over = self.time == self.end
        return self.outcome(
            rewards, terminated=over and self.terminates, truncated=over and not self.terminates
        )


class Departures(Toy):
    """Agent i leaves after i + 1 steps; the last is truncated after as many as there are agents.

    Masks come by the infos: only actions up to the step are legal. Every living agent earns 1.
    """

    def __init__(self, num_agents: int = 3):
        super().__init__(num_agents, Box(0, np.inf, (2,), np.float32), Discrete(num_agents))

    def infos(self):
        legal = (np.arange(len(self.possible_agents)) <= self.time).astype(np.int8)
        return {agent: {"action_mask": legal} for agent in self.agents}

    def observations(self):
        return {
            agent: np.array([1 + self.time, 1 + int(agent[1:])], np.float32)
            for agent in self.agents
        }

    def reset(self, seed=None, options=None):
        observations, _ = super().reset(seed, options)
        return observations, self.infos()

    def step(self, actions):
        if set(actions) != set(self.agents):
            raise ValueError(f"actions are given for {sorted(actions)}; living are {self.agents}")
        self.time += 1
        last = len(self.possible_agents)
        gone = {agent: int(agent[1:]) < self.time and self.time < last for agent in self.agents}
        cut = dict.fromkeys(self.agents, self.time == last)
        result = (self.observations(), dict.fromkeys(self.agents, 1.0), gone, cut, self.infos())
        self.agents = [agent for agent in self.agents if not (gone[agent] or cut[agent])]
        return result


class Crashing(Counting):
    """`Counting` whose instances raise once, in their step number `crash_at` over all episodes.

    Only the first `num_crashing` instances of the process do; set `Crashing.made = 0` before.
    """

    made = 0

    def __init__(self, crash_at: int = 3, num_crashing: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.crash_at = crash_at if Crashing.made < num_crashing else None
        Crashing.made += 1
        self.steps = 0

    def step(self, actions):
        self.steps += 1
        if self.steps == self.crash_at:
            raise RuntimeError("the toy crashed, as it should")
        return super().step(actions)


class Dials(Toy):
    """Two dials with 2 and 4 positions; the reward is 1 per dial set to what is shown."""

    def __init__(self, num_agents: int = 2, length: int = 3):
        super().__init__(num_agents, Box(0, 3, (2,), np.float32), MultiDiscrete([2, 4]))
        self.length = length

    def start(self):
        self.wanted = self.random.integers([2, 4], size=(len(self.possible_agents), 2))

    def observations(self):
        return {a: self.wanted[i].astype(np.float32) for i, a in enumerate(self.possible_agents)}

    def step(self, actions):
        for agent in self.agents:
            if not self._action_space.contains(np.asarray(actions[agent])):
                raise ValueError(f"action of {agent} is {actions[agent]!r}")
        rewards = [float((actions[a] == self.wanted[i]).sum()) for i, a in enumerate(self.agents)]
        self.start()
        self.time += 1
        return self.outcome(rewards, truncated=self.time == self.length)


class Target(Toy):
    """A number between 2 and 6 is shown; the action must name it, or costs the distance."""

    def __init__(self, num_agents: int = 2, length: int = 4):
        super().__init__(num_agents, Box(2, 6, (1,), np.float32), Box(2, 6, (1,), np.float32))
        self.length = length

    def start(self):
        self.wanted = self.random.uniform(2, 6, len(self.possible_agents)).astype(np.float32)

    def observations(self):
        return {agent: self.wanted[i : i + 1] for i, agent in enumerate(self.possible_agents)}

    def step(self, actions):
        rewards = []
        for i, agent in enumerate(self.agents):
            if not self._action_space.contains(np.asarray(actions[agent], np.float32)):
                raise ValueError(f"action of {agent} is {actions[agent]!r}")
            rewards.append(-float(abs(actions[agent][0] - self.wanted[i])))
        self.start()
        self.time += 1
        return self.outcome(rewards, truncated=self.time == self.length)


class Identity(Toy):
    """One step: the best action is what the agent sees, and earns 1; all episodes terminate.

    `space` is "discrete" (one of 3), "multi_discrete" (2 and 3 values, 1/2 for each that is right)
    or "box" (two numbers in [-2, 2], less their mean squared distance from what is seen).
    """

    def __init__(self, num_agents: int = 1, space: str = "discrete"):
        action_space = {
            "discrete": Discrete(3),
            "multi_discrete": MultiDiscrete([2, 3]),
            "box": Box(-2, 2, (2,), np.float32),
        }[space]
        size = 3 if space == "discrete" else 2
        super().__init__(num_agents, Box(-2, 2, (size,), np.float32), action_space)

    def start(self):
        shape = (len(self.possible_agents), *self._action_space.shape)
        if isinstance(self._action_space, Box):
            self.wanted = self.random.uniform(-1.5, 1.5, shape).astype(np.float32)
        else:
            high = getattr(self._action_space, "nvec", getattr(self._action_space, "n", None))
            self.wanted = self.random.integers(high, size=shape)

    def observations(self):
        wanted = self.wanted
        if isinstance(self._action_space, Discrete):
            wanted = np.eye(3)[wanted]
        return {a: wanted[i].astype(np.float32) for i, a in enumerate(self.possible_agents)}

    def step(self, actions):
        rewards = []
        for agent, wanted in zip(self.agents, self.wanted, strict=True):
            if not self._action_space.contains(actions[agent]):
                raise ValueError(f"action of {agent} is {actions[agent]!r}")
            if isinstance(self._action_space, Box):
                rewards.append(1.0 - float(np.square(actions[agent] - wanted).mean()))
            else:
                rewards.append(float(np.mean(actions[agent] == wanted)))
        return self.outcome(rewards, terminated=True)
