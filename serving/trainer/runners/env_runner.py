"""Programs under control, as an `EnvRunner` of RLlib: what it samples is what they have sent.

It takes the place of RLlib's runners by `config.env_runners(env_runner_cls=...)`, which `external`
does; there is no environment. Any number of clients send to one front, and any number of runners
take from it (`num_env_runners` 0, 1, 2, ...), each as many steps as its config says; the first of
them publishes what was learned. On-policy learners get no steps that are too many versions old.

`episode_runner` has what RLlib's algorithms sample, and `sequence_runner` what ours do.

`sample()` returns what there is after `PATIENCE_S`; set `ending`, and it raises `Ended` instead of
waiting, which is how a trainer without clients comes to its end.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.serving.trainer.inlet import Inlet
from marlserve.serving.trainer.limits import Limits
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.steps import Steps

PATIENCE_S = 10.0
_LOOK_S = 0.5  # between two looks whether it ends
ending = threading.Event()


class Ended(Exception):
    """There is nothing more to be sampled, since the process ends."""


class ExternalEnvRunner(EnvRunner, Checkpointable):
    """See the module. Subclasses have a `module`, and say what it samples and publishes."""

    module: Any

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self.num_env_steps_sampled_lifetime: int = 0
        given = self.config.env_config
        self.contract: Contract = given["contract"]
        self.limits: Limits = given["limits"]
        self._weights_seq_no = 0
        self._inlet: Inlet | None = None  # there may be no front to restore a checkpoint
        self._is_new, self._published_s, self._is_random = True, -float("inf"), False
        self._over: list[tuple[int, float, float]] = []  # steps, return and seconds of episodes

    def policies(self, training: dict[str, Any]) -> tuple[PolicyFile, dict[str, Noise]]:
        """The policy as it is, and how its numbers are drawn.

        Args:
            training: where it is from, JSON.
        """
        raise NotImplementedError

    def epsilon(self) -> float:
        """How many actions are drawn from all alike, as the module would by now."""
        raise NotImplementedError

    def set_weights_of(self, weights: Mapping[str, Any]) -> None:
        """Of each module."""
        raise NotImplementedError

    def sampled(self) -> list[Any]:
        """What the algorithm learns from next, once there is enough.

        Raises:
            Ended, ConnectionError: as `received`.
        """
        raise NotImplementedError

    def sample(self, *, random_actions: bool = False, **kwargs: Any) -> list[Any]:
        """Publish what is new, wait for steps, and return what is `sampled`.

        Args:
            random_actions: clients are to draw their actions from all alike, from now on.

        Raises:
            Ended, ConnectionError: as `received`.
        """
        self.begin(random_actions)
        return self.sampled()

    def begin(self, random_actions: bool) -> None:
        """Publish what is new; `random_actions` is for clients, from now on."""
        self._is_new |= random_actions != self._is_random
        self._is_random = random_actions
        self._publish()

    def received(self, steps: int) -> list[Steps]:
        """Fragments of so many steps at least, or what there is after a while.

        Raises:
            Ended: if `ending` is set.
            ConnectionError: if there is no front for longer than a restart takes.
        """
        inlet, missing, fragments = self.connected(), steps, list[Steps]()
        until_s = time.monotonic() + PATIENCE_S
        while missing > 0 and time.monotonic() < until_s:
            if ending.is_set():
                raise Ended("the process ends")
            some = inlet.take(missing, _LOOK_S)
            fragments += some
            missing -= sum(map(len, some))
        return fragments

    def note_ends(self, fragments: list[Steps]) -> None:
        """Keep the books of episodes that are over."""
        for each in fragments:
            if each.is_over:
                whole = sum(part.earned for part in each.parts)
                seconds = float(each.times_s[-1] - each.times_s[0])
                self._over.append((each.first_step + len(each), whole, seconds))

    def connected(self) -> Inlet:
        """The line to the front."""
        if self._inlet is None:
            given = self.config.env_config
            self._inlet = Inlet(given["address"], given["secret"], self.contract)
        return self._inlet

    def _publish(self) -> None:
        """Hand out the weights, if they are new and it is time; the first runner does so."""
        is_first = (self.worker_index or 0) == min(1, self.config.num_env_runners)
        if not is_first or not self._is_new:
            return
        if time.monotonic() - self._published_s < self.limits.publish_every_s:
            return
        file, noises = self.policies({})
        epsilon = 1.0 if self._is_random else self.epsilon()
        self.connected().publish(file, epsilon, noises)
        self._is_new, self._published_s = False, time.monotonic()

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
                self.set_weights_of(weights)
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
