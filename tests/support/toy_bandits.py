"""A contextual bandit that linear models cannot learn, and the kinds of bandits that can."""

import numpy as np
from gymnasium.spaces import Box, Discrete
from toy_base import Toy

# {kind: (algorithm, its settings)}
KINDS = {
    "neural_linear": ("neural_linear", {}),
    "diagonal": ("neural_ucb", {"covariance": "diagonal"}),
    "full": ("neural_ucb", {"covariance": "full"}),
}
# Of 3 arms in 3 dimensions, each of unit length.
THETA = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]


class Waves(Toy):
    """One step: an arm earns cos(3 x theta), plus noise of 0.1.

    Contexts x are uniform on the unit sphere: [3], of which each arm has its own theta; or, if
    `per_arm`, [3, 3], one for each arm, and the same theta for all of them.

    Attributes:
        regret: summed over all episodes and agents so far, without the noise
        rounds: how many these were
    """

    def __init__(
        self,
        num_agents: int = 1,
        per_arm: bool = False,
        scale: float = 1.0,
        offset: float = 0.0,
    ):
        shape = (3, 3) if per_arm else (3,)
        super().__init__(num_agents, Box(-1, 1, shape, np.float32), Discrete(3))
        self.theta = THETA[0] if per_arm else THETA
        self.scale, self.offset = scale, offset
        self.regret, self.rounds = 0.0, 0

    def start(self):
        shape = (len(self.possible_agents), *self._observation_space.shape)
        contexts = self.random.normal(size=shape)
        contexts /= np.linalg.norm(contexts, axis=-1, keepdims=True)
        self.contexts = contexts.astype(np.float32)

    def observations(self):
        return dict(zip(self.possible_agents, self.contexts, strict=True))

    def step(self, actions):
        expected = np.cos(3 * (self.contexts @ self.theta.T))  # [agents, arms]
        earned = expected[range(len(expected)), [actions[agent] for agent in self.agents]]
        self.regret += float((expected.max(-1) - earned).sum())
        self.rounds += len(earned)
        noise = 0.1 * self.random.normal(size=len(earned))
        return self.outcome(self.scale * (earned + noise) + self.offset, terminated=True)
