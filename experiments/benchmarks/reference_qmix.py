"""QMIX as one would write it without a framework: one environment, one decision at a time.

Networks, targets, loss and the number of updates are those of `policies.qmix` with its defaults,
and the networks are its very classes; what differs is how environment, decisions, replay and
updates are put together. It learns from rows of full length alone, so the length of an episode
must be a multiple of theirs.
"""

import copy
import random

import numpy as np
import torch
from pettingzoo import ParallelEnv
from torch import Tensor, nn

from marlserve.policies.models.gru import component_sizes, make_network
from marlserve.policies.models.mixing import MonotonicMixer
from marlserve.policies.qmix import QMIXConfig
from marlserve.policies.training.returns import lambda_returns

Row = dict[str, list]


class PlainQMIX:
    """`play(steps)` plays and learns.

    Args:
        env: with a `state()`, and agents whose spaces are the same.
        config: whose settings to take; epsilon stays as it begins.
    """

    def __init__(self, env: ParallelEnv, config: QMIXConfig):
        self.env, self.config, self.agents = env, config, list(env.possible_agents)
        spaces = env.observation_space(self.agents[0]), env.action_space(self.agents[0])
        self.network = make_network(*spaces, hidden_size=config.hidden_size)
        components = len(component_sizes(spaces[1]))
        self.mixer = MonotonicMixer(
            len(self.agents) * components,
            env.state_space.shape[0],
            config.mixing_size,
            config.hypernet_size,
        )
        learned = nn.ModuleList([self.network, self.mixer])
        self.learned, self.targets = learned, copy.deepcopy(learned)
        self.optimizer = torch.optim.Adam(learned.parameters(), lr=config.lr)
        self.replay: list[Row] = []
        self.num_updates = 0
        self.epsilon = config.epsilon[0][1]
        self._begin()

    def play(self, steps: int) -> int:
        """Play so many env-steps, with an update for every row's worth of them."""
        for _ in range(steps):
            if len(self.row["actions"]) == self.config.sequence_length or not self.env.agents:
                self._store()
            self._step()
        return steps

    def _begin(self) -> None:
        self.observations, _ = self.env.reset()
        self.hidden = torch.zeros(len(self.agents), *self.network.hidden_shape)
        self._begin_row()

    def _begin_row(self) -> None:
        columns = ("obs", "state", "actions", "rewards", "goes_on")
        self.row: Row = {"hidden": [self.hidden.numpy()], **{name: [] for name in columns}}
        self._look()

    def _look(self) -> None:
        self.row["obs"].append(np.stack([self.observations[agent] for agent in self.agents]))
        self.row["state"].append(self.env.state())

    @torch.no_grad()
    def _step(self) -> None:
        seen = torch.from_numpy(self.row["obs"][-1])[None]
        values, self.hidden = self.network(seen, self.hidden)
        actions = values[0].argmax(-1).numpy()  # [N, H]
        for agent, name in enumerate(self.agents):
            if random.random() < self.epsilon:
                actions[agent] = self.env.action_space(name).sample()
        chosen = dict(zip(self.agents, actions, strict=True))
        self.observations, rewards, terminated, *_ = self.env.step(chosen)
        self.row["actions"].append(actions)
        self.row["rewards"].append(np.mean(list(rewards.values())))
        self.row["goes_on"].append(float(not all(terminated.values())))
        self._look()

    def _store(self) -> None:
        self.replay.append(self.row)
        del self.replay[: -self.config.replay_capacity]
        if len(self.replay) >= self.config.train_batch_size_per_learner:
            self._update()
        if self.env.agents:
            self._begin_row()
        else:
            self._begin()

    def _update(self) -> None:
        config = self.config
        rows = random.choices(self.replay, k=config.train_batch_size_per_learner)

        def column(name: str) -> Tensor:  # [T, R, ...]
            return torch.from_numpy(np.stack([np.stack(row[name]) for row in rows], axis=1))

        obs, state, actions = column("obs"), column("state"), column("actions")
        rewards, goes_on = column("rewards").float(), column("goes_on").float()
        hidden = column("hidden")[0].flatten(0, 1)
        lead = obs.shape[:3]  # T + 1, R, N
        target_network, target_mixer = self.targets
        values = self.network(obs.flatten(1, 2), hidden)[0].unflatten(1, lead[1:])
        chosen = values[:-1].gather(-1, actions[..., None]).squeeze(-1).flatten(2)
        mixed = self.mixer(chosen, state[:-1])
        with torch.no_grad():
            target = target_network(obs.flatten(1, 2), hidden)[0].unflatten(1, lead[1:])
            best = target.gather(-1, values.argmax(-1, keepdim=True)).squeeze(-1)[1:].flatten(2)
            following = target_mixer(best, state[1:])
            is_last = torch.arange(len(rewards))[:, None] == len(rewards) - 1
            lam = config.td_lambda
            returns = lambda_returns(rewards, following, goes_on, is_last, config.gamma, lam)
        self.optimizer.zero_grad()
        (mixed - returns).square().mean().backward()
        nn.utils.clip_grad_norm_(self.learned.parameters(), config.grad_clip)
        self.optimizer.step()
        self.num_updates += 1
        if self.num_updates % config.target_network_update_freq == 0:
            self.targets.load_state_dict(self.learned.state_dict())
