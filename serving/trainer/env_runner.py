"""Programs under control, as an `EnvRunner` of RLlib: what it samples is what they have sent.

    with Front(FrontSettings()) as front:
        config = external(
            PPOConfig(), front.learner_config, "scheduler", observation_space, action_space
        )
        algo = config.build_algo()
        algo.train()          # waits for clients of front.address

It takes the place of RLlib's runners by `config.env_runners(env_runner_cls=...)`; there is no
environment. Any number of clients send to one front, and any number of runners take from it
(`num_env_runners` 0, 1, 2, ...), each as many steps as its config says; the first of them publishes
what was learned. On-policy learners get no steps that are too many versions old.

`sample()` returns what there is after `PATIENCE_S`; set `ending`, and it raises `Ended` instead of
waiting, which is how a trainer without clients comes to its end.
"""

import threading
import time
from typing import Any

import ray
from gymnasium.spaces import Box, Space
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from marlserve.policies.export import rllib_modules  # noqa: F401  teaches `exported`
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import ANYONE, PolicyFile
from marlserve.policies.export.spaces import ActionSpace
from marlserve.serving.trainer.episodes import Episodes
from marlserve.serving.trainer.inlet import Inlet
from marlserve.serving.trainer.limits import Limits
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import Steps

PATIENCE_S = 10.0
_LOOK_S = 0.5  # between two looks whether it ends
NUM_STEPS_LEFT_STALE = "num_env_steps_left_stale"
ending = threading.Event()


class Ended(Exception):
    """There is nothing more to be sampled, since the process ends."""


def external(
    config: AlgorithmConfig,
    learner_config: dict[str, Any],
    policy: str,
    observation_space: Box,
    action_space: ActionSpace,
    limits: Limits | None = None,
) -> AlgorithmConfig:
    """The config, told to learn from programs under control.

    Args:
        learner_config: `Front.learner_config`.
        policy: the name that clients ask for.
        limits: what is taken; by default what suits the algorithm.

    Raises:
        ValueError: for an algorithm that is none of `limits.ALGORITHMS`, or other spaces than
            `Contract` allows.
    """
    limits = Limits.of(config) if limits is None else limits
    contract = limits.contract(policy, observation_space, action_space)
    config.environment(
        observation_space=observation_space,
        action_space=action_space,
        env_config={**learner_config, "contract": contract, "limits": limits},
    )
    config.env_runners(
        env_runner_cls=ExternalEnvRunner, validate_env_runners_after_construction=False
    )
    if limits.fragment_steps:
        config.env_runners(rollout_fragment_length=limits.fragment_steps)
    return config


class ExternalEnvRunner(EnvRunner, Checkpointable):
    """See the module; one agent per episode."""

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self.num_env_steps_sampled_lifetime: int = 0
        given = self.config.env_config
        self._contract: Contract = given["contract"]
        self._limits: Limits = given["limits"]
        self._weights_seq_no = 0
        spec = self.config.get_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        self._episodes = Episodes(self._contract, self._limits.keeps_choice)
        self._inlet: Inlet | None = None  # there may be no front to restore a checkpoint
        self._is_new, self._published_s, self._is_random = True, -float("inf"), False
        self._over: list[tuple[int, float, float]] = []  # steps, return and seconds of episodes

    def sample(self, *, random_actions: bool = False, **kwargs: Any) -> list[SingleAgentEpisode]:
        """Wait for steps, and return exactly so many as the config says, or what there is.

        Args:
            random_actions: clients are to draw their actions from all alike, from now on.

        Raises:
            Ended: if `ending` is set.
            ConnectionError: if there is no front for longer than a restart takes.
        """
        self._is_new |= random_actions != self._is_random
        self._is_random = random_actions
        self._publish()
        sampled = [self._episodes.episode(steps) for steps in self._taken()]
        count = sum(map(len, sampled))
        done = sum(episode.is_done for episode in sampled)
        SingleAgentEnvRunner._increase_sampled_metrics(self, count, done)
        self.num_env_steps_sampled_lifetime += count * max(1, self.config.num_env_runners)
        return sampled

    def _taken(self) -> list[Steps]:
        inlet, episodes = self._connected(), self._episodes
        behind = inlet.newest_version - episodes.left_version
        stale = episodes.forget() if behind > self._contract.most_staleness else 0
        self.metrics.log_value(NUM_STEPS_LEFT_STALE, stale, reduce="lifetime_sum")
        wanted = self.config.get_rollout_fragment_length(self.worker_index or 0)
        missing, fragments = wanted - episodes.left_steps, list[Steps]()
        until_s = time.monotonic() + PATIENCE_S
        while missing > 0 and time.monotonic() < until_s:
            if ending.is_set():
                raise Ended("the process ends")
            some = inlet.take(missing, _LOOK_S)
            fragments += some
            missing -= sum(map(len, some))
        steps = episodes.cut(fragments, wanted)
        for each in steps:
            if each.is_over:
                whole = each.return_before + float(each.rewards.sum(dtype="float64"))
                seconds = float(each.times_s[-1] - each.times_s[0])
                self._over.append((each.first_step + len(each), whole, seconds))
        return steps

    def _publish(self) -> None:
        """Hand out the weights, if they are new and it is time; the first runner does so."""
        is_first = (self.worker_index or 0) == min(1, self.config.num_env_runners)
        if not is_first or not self._is_new:
            return
        if time.monotonic() - self._published_s < self._limits.publish_every_s:
            return
        self._connected().publish(self.policy_file({}), self._epsilon())
        self._is_new, self._published_s = False, time.monotonic()

    def policy_file(self, training: dict[str, Any]) -> PolicyFile:
        """The policy as it is.

        Args:
            training: where it is from, JSON.
        """
        config = self.config
        network = exported(self.module, config.normalize_actions, config.clip_actions)
        return PolicyFile({DEFAULT_MODULE_ID: network}, {ANYONE: DEFAULT_MODULE_ID}, training)

    def _epsilon(self) -> float:
        """How many actions are drawn from all alike, as the module would."""
        schedule = getattr(self.module, "epsilon_schedule", None)
        if self._is_random or schedule is None:
            return float(self._is_random)
        schedule.update(self.num_env_steps_sampled_lifetime)
        return float(schedule.get_current_value())

    def _connected(self) -> Inlet:
        if self._inlet is None:
            given = self.config.env_config
            self._inlet = Inlet(given["address"], given["secret"], self._contract)
        return self._inlet

    def get_spaces(self) -> dict[str, tuple[Space, Space]]:
        both = self.config.observation_space, self.config.action_space
        return {INPUT_ENV_SPACES: both, DEFAULT_MODULE_ID: both}

    def get_metrics(self) -> dict:
        for steps, whole, seconds in self._over:
            SingleAgentEnvRunner._log_episode_metrics(self, steps, whole, seconds)
        self._over.clear()
        return self.metrics.reduce()

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state: dict[str, Any] = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state()
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        if COMPONENT_RL_MODULE in state:
            number = state.get(WEIGHTS_SEQ_NO, 0)
            if number == 0 or number > self._weights_seq_no:
                weights = state[COMPONENT_RL_MODULE]
                weights = ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
                self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
                self._is_new = True
            self._weights_seq_no = number or self._weights_seq_no
        steps = state.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
        self.num_env_steps_sampled_lifetime = max(self.num_env_steps_sampled_lifetime, steps)
        if self._inlet is not None:
            self._publish()

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        return [(COMPONENT_RL_MODULE, self.module)]

    def assert_healthy(self) -> None:
        """It is: who is away comes back."""

    def stop(self) -> None:
        if self._inlet is not None:
            self._inlet.close()
            self._inlet = None
