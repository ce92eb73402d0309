"""The vectorised `EnvRunner`: B copies of an environment, one forward pass per module and step.

It takes the place of RLlib's `MultiAgentEnvRunner` by `config.env_runners(env_runner_cls=...)`.

How it asks a module for actions, says `module_actor`: once per step, for all copies and all agents
that the policy mapping gives the module.

`sample()` returns a list of one `Sequences` with the rows that were completed, or an empty list
if none was. The agent axis of its arrays has the order of the keys of
`get_spaces()[INPUT_ENV_SINGLE_SPACES][0]`, which need not be sorted; `acting.agent_groups` says
which of them each module plays. `get_spaces()` also holds `MIXER: (state_space, None)` for
centralised training. Agents of different policies may have different spaces; see `own_spaces`.

Settings, beside RLlib's own: the config attributes `sequence_length` (L, 16 if the config has
none), `sequence_columns` (names of further module outputs to keep per step, none by default),
`needs_state` (keep the global state, which the environment is else not asked for), `needs_costs`
(keep what steps cost of the problem's constraint),
`observe_agent_index` (see `agent_index`), `cut_rows` and `seeds_by_steps` (see below), which are
False by default, and `teacher` (see there; "", none).

What differs from RLlib's runner, on purpose:
- Every copy gets a seed of its own once, then goes on; `sample(num_episodes=...)` starts new
  episodes but does not repeat old ones. The seeds depend on `config.seed`, the worker, whether
  it evaluates and, after a restored checkpoint, the steps sampled before.
- `num_episodes` is divided among the copies beforehand, and exactly that many count. Taking the
  first to finish would favour short episodes.
- A row that is not full when `sample(num_timesteps=...)` returns goes on in the next call. Under
  evaluation, which counts the steps it is given, and with `cut_rows`, for algorithms that learn
  from each policy's own steps only, it is handed out as it is.
- With `seeds_by_steps`, every sample begins new episodes, whose seeds follow from the number of
  steps sampled before: a restored training takes the course of an unbroken one. That is for
  one-step episodes; what is in progress at the end of a sample is lost.
- If a copy raises and `restart_failed_sub_environments` is set, the copy alone is replaced (all
  copies, if they are one array problem), and the unfinished rows of it are lost.
- The policy mapping is asked once per agent, not once per episode.
- Connectors are not run and `on_episode_step` is not called; asking for either is an error.
"""

import logging
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext

from marlserve.policies.sampling.acting import Actor, configured_groups
from marlserve.policies.sampling.agent_index import IndexedBatch
from marlserve.policies.sampling.counts import Counts
from marlserve.policies.sampling.environment import JointEnv, make_batch
from marlserve.policies.sampling.episodes import Ledger
from marlserve.policies.sampling.joint_actions import joint_actions
from marlserve.policies.sampling.own_spaces import own_spaces
from marlserve.policies.sampling.reporting import ReportingEnvRunner
from marlserve.policies.sampling.rollout import Outcome, Rollout
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.sampling.teacher import TEACHER_ACTIONS, Teacher

MIXER = "__mixer__"
_MAX_RESTARTS = 3  # of all copies without a single step between

logger = logging.getLogger(__name__)


class VectorEnvRunner(ReportingEnvRunner):
    """Samples `Sequences` from `config.num_envs_per_env_runner` copies of `config.env`.

    Raises:
        ValueError: for an environment that is none (see `environment.make_batch`), a policy
            mapping to unknown modules, agents of one policy whose spaces differ, or a config that
            asks for connectors or `on_episode_step`, or for costs that the environment has not.
    """

    env: Any  # a JointEnv; None before there is one

    def __init__(self, config: AlgorithmConfig, **kwargs):
        self._generator: np.random.Generator | None = None  # see `_random`
        self._restarts = 0
        self._seeds_by_steps = getattr(config, "seeds_by_steps", False)
        super().__init__(config=config, **kwargs)

    def make_env(self) -> None:
        """Make the copies anew; the episodes in progress are gone."""
        if self.env is not None:
            self.env.close()
        config = self.config
        context = EnvContext(
            config.env_config,
            worker_index=self.worker_index or 0,
            num_workers=config.num_env_runners,
        )
        batch = make_batch(config, context)
        teacher = "" if config.in_evaluation else getattr(config, "teacher", "")
        self._teacher = Teacher(teacher, batch) if teacher else None
        if getattr(config, "needs_costs", False) and batch.costs() is None:
            raise ValueError(
                f"multiplier_lr is {config.multiplier_lr}; {getattr(batch, 'name', batch)} has no "
                "constraint, for which it must be 0"
            )
        if getattr(config, "observe_agent_index", False):
            batch = IndexedBatch(batch)
        self.env, self.num_envs = JointEnv(batch), batch.num_envs
        self.groups = configured_groups(batch.agents, config)
        spaces = batch.observation_spaces, batch.action_spaces
        self._own = own_spaces(self.groups, batch.agents, *spaces)
        self._actions = joint_actions(
            [batch.action_spaces[agent] for agent in batch.agents],
            config.normalize_actions,
            config.clip_actions,
        )
        self._begun = False  # then there is a `_rollout`
        self._needs_initial_reset = True
        self._callback("on_environment_created", env=self.env, env_context=context)

    def get_spaces(self) -> dict:
        if self.env is None:
            return self.spaces
        batch = self.env.batch
        joint = (self.env.observation_space, self.env.action_space)
        return {
            INPUT_ENV_SPACES: joint,
            INPUT_ENV_SINGLE_SPACES: joint,
            MIXER: (batch.state_space, None),
            **{
                module_id: (own.observation_space, own.action_space)
                for module_id, own in self._own.items()
            },
        }

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Sequences]:
        """What `sample()` calls after filling in its defaults."""
        anew = self._seeds_by_steps and not self.config.in_evaluation
        if anew:
            self._generator, self._begun = None, False
        actor = self._actor(random_actions)
        if anew or self._needs_initial_reset or force_reset or num_episodes is not None:
            self._begin_all(actor)
        self._needs_initial_reset = num_episodes is not None
        quota = None if num_episodes is None else _shares(num_episodes, self.num_envs)
        agents = self.env.batch.agents
        counts = Counts(len(agents))
        rows: list[Sequences] = []
        runners = max(1, self.config.num_env_runners)
        wanted = num_timesteps or 0
        while quota.any() if quota is not None else self._length(counts) < wanted:
            rollout = self._rollout
            t = self.num_env_steps_sampled_lifetime + counts.env_steps * runners
            actions, hidden = None, rollout.hidden
            kept: dict[str, np.ndarray] = {}
            if actor is not None and not (random_actions and actor.forgets):
                actions, hidden, kept = actor.act(
                    rollout.obs, rollout.mask, rollout.hidden, explore, t
                )
            if self._teacher is not None:
                kept = kept | {TEACHER_ACTIONS: self._teacher.actions(rollout.obs, rollout.mask)}
            if random_actions:
                actions = self._actions.random(self._random(), rollout.active.shape, rollout.mask)
            outcome = self._advance(actions, hidden, kept)
            if outcome is None:
                self._begin_all(actor)
                continue
            self._record(outcome, quota, counts, rows)
            complete = quota is None and self._length(counts) >= wanted
            if not (anew and complete):  # the next sample begins new ones
                self._begin_again(outcome)
        cut = self.config.in_evaluation or getattr(self.config, "cut_rows", False)
        if cut and quota is None:
            begun = np.flatnonzero(self._rollout.position)
            rows.append(self._rollout.take(begun, np.zeros(len(begun), bool)))
        counts.log(self.metrics, agents, self.groups)
        self._log_episodes(counts.episodes)
        if counts.env_steps:
            self._log_env_steps(self._metrics_num_env_steps_sampled, counts.env_steps)
        if explore:  # RLlib sends the exact number of all runners once per iteration
            self.num_env_steps_sampled_lifetime += counts.env_steps * runners
        rows = [part for part in rows if len(part)]
        return [Sequences.concatenate(rows)] if rows else []

    def _record(
        self, outcome: Outcome, quota: np.ndarray | None, counts: Counts, rows: list[Sequences]
    ) -> None:
        """Keep the books of one step: rows that are complete, episodes that ended, new ones."""
        rollout, failed = self._rollout, outcome.failed
        counting = np.ones(self.num_envs, bool) if quota is None else quota > 0
        counts.record(outcome.active[counting & ~failed])
        self._ledger.record(outcome.rewards, outcome.active)
        if failed.any():
            self._log_failures(failed.sum(), (rollout.position[failed] - 1).sum())
        ended = (outcome.terminated | outcome.truncated) & ~failed
        complete = (ended | rollout.full()) & ~failed
        if complete.any():
            wanted = np.flatnonzero(complete & counting)
            rows.append(rollout.take(wanted, outcome.terminated[wanted]))
            rollout.drop(np.flatnonzero(complete & ~counting))
        if ended.any():
            over = np.flatnonzero(ended & counting)
            if len(over):
                metrics = self.env.batch.metrics()
                for episode in self._ledger.finish(over, outcome.terminated, metrics):
                    self._episode_callback("on_episode_end", episode, prev_episode_chunks=[])
                    counts.episodes.append(episode)
            if quota is not None:
                quota[over] -= 1

    def _begin_again(self, outcome: Outcome) -> None:
        """New episodes where one ended, or failed."""
        again = np.flatnonzero(outcome.terminated | outcome.truncated | outcome.failed)
        if len(again):
            seeds = [self._new_seed() if outcome.failed[copy] else None for copy in again]
            self._begin(again, seeds)

    def _advance(self, actions, hidden, kept) -> Outcome | None:
        """Step all copies; None if that raised and they were made anew."""
        self._log_env_steps(self._metrics_num_try_env_step, 1)
        try:
            outcome = self._rollout.advance(actions, hidden, kept)
        except Exception as error:
            self._restarts += 1
            if not self.config.restart_failed_sub_environments or self._restarts > _MAX_RESTARTS:
                raise
            logger.error("the environment raised %r; all its copies are restarted", error)
            self._log_failures(self.num_envs, self._rollout.position.sum())
            self.make_env()
            return None
        self._restarts = 0
        return outcome

    def _begin_all(self, actor: Actor | None) -> None:
        """New episodes in all copies; their first ones ever are seeded."""
        first, self._begun = not self._begun, True
        self._rollout = Rollout(
            self.env.batch,
            getattr(self.config, "sequence_length", 16),
            self._actions,
            None if actor is None else actor.initial_hidden,
            getattr(self.config, "needs_state", False),
            getattr(self.config, "needs_costs", False),
        )
        self._ledger = Ledger(self.env.batch.agents, self.num_envs)
        seeds: list[int | None] | None = None
        if first:
            seeds = [self._new_seed() for _ in range(self.num_envs)]
        self._begin(np.arange(self.num_envs), seeds)

    def _begin(self, copies: np.ndarray, seeds: list[int | None] | None) -> None:
        self._rollout.begin(copies, seeds)
        for episode in self._ledger.begin(copies):
            self._episode_callback("on_episode_created", episode)
            self._episode_callback("on_episode_start", episode)

    def _new_seed(self) -> int:
        return int(self._random().integers(2**31))

    def _random(self) -> np.random.Generator:
        """Of seeds and random actions."""
        if self._generator is None:
            config = self.config
            entropy = None
            if config.seed is not None:
                before = 0 if config.in_evaluation else self.num_env_steps_sampled_lifetime
                entropy = [config.seed, self.worker_index or 0, int(config.in_evaluation), before]
            self._generator = np.random.default_rng(entropy)
        return self._generator

    def _actor(self, random_actions: bool) -> Actor | None:
        """Made in each call: modules may have been replaced or added since the last one."""
        if self.module is None:
            if not random_actions:
                raise ValueError("there is no RLModule; only random_actions=True is possible")
            return None
        return Actor(
            dict(self.module.items()),
            self.groups,
            self._own,
            self.num_envs,
            self._actions,
            self._device,
            getattr(self.config, "sequence_columns", ()),
        )

    def _length(self, counts: Counts) -> int:
        if self.config.count_steps_by == "env_steps":
            return counts.env_steps
        return int(counts.agent_steps.sum())


def _shares(num_episodes: int, num_envs: int) -> np.ndarray:
    """`num_episodes` divided among the copies, [B] int; the first ones get the remainder."""
    share, rest = divmod(num_episodes, num_envs)
    return share + (np.arange(num_envs) < rest)
