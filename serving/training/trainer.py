"""Trains on what is new in the log, saves itself, and publishes what it has learned.

    trainer = Trainer(Settings(), AgentLog(3), PolicyStore("models"), "experience.sqlite")
    trainer.train(batch_size=64, iterations=10)

It saves itself in the store's folder every 500 updates, and goes on from there after a restart;
the replay is made anew of the log. Epsilon shrinks with each update, and is for the service to
explore by.
"""

import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from marlserve.envs import checks
from marlserve.serving.experience.events import joined
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.training.learner import DQNLearner
from marlserve.serving.training.logged import Logged
from marlserve.serving.training.soundness import refusal
from marlserve.serving.training.transitions import Transition, stacked, transition

_SAVED, _PROGRESS = "learner", "progress.json"
_RECENT = 1_000  # observations that tell whether a policy is sound
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How it trains.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    gamma: float = 0.99
    lr: float = 1e-3
    replay: int = 10_000  # transitions, the newest
    save_every: int = 500  # updates
    publish_every: int = 100
    epsilon_decay: float = 0.995  # with each update
    least_epsilon: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        checks.number(self, "gamma", 0.0, 0.9999)
        checks.number(self, "lr", 1e-9, 1.0)
        for name in ("replay", "save_every", "publish_every"):
            checks.whole(self, name, 1, 10**7)
        checks.number(self, "epsilon_decay", 0.0, 1.0)
        checks.number(self, "least_epsilon", 0.0, 1.0)
        checks.whole(self, "seed", 0, 2**31)


class Trainer:
    """See the module.

    Args:
        logged: what the log has.
        start: a run, or a checkpoint, of our DQN, whose network it begins with, and at the least
            epsilon, if it has not saved itself yet; None: it begins anew.

    Attributes:
        epsilon: from 1 on.
        steps_done: updates, over all restarts.
        reward_unit: that rewards are divided by; None: it is not known yet.

    Raises:
        ValueError: if `start` is none, or does not fit.
    """

    def __init__(
        self,
        settings: Settings,
        logged: Logged,
        store: PolicyStore,
        log: str | Path,
        start: Path | None = None,
    ):
        self.settings, self.store, self._log = settings, store, Path(log)
        self.epsilon, self.steps_done, self.refused = 1.0, 0, ""
        self.reward_unit = logged.reward_unit
        self._logged, self._start = logged, start
        self._begin()
        self._replay: deque[Transition] = deque(maxlen=settings.replay)
        self._after, self._unusable = 0, 0
        self._random = np.random.default_rng(settings.seed)
        self._restore()

    def _begin(self) -> None:
        """With weights as they are at first."""
        settings = self.settings
        self._learner = DQNLearner(self._logged, settings.gamma, settings.lr, settings.seed)
        if self._start is not None:
            self._learner.begin_as(self._start)
            self.epsilon = settings.least_epsilon

    def train(self, batch_size: int = 64, iterations: int = 1) -> dict[str, Any]:
        """Look for what is new, and make so many updates; none while there are fewer transitions.

        Returns:
            `progress()`, and the mean "loss", None if there was no update.
        """
        self._read()
        losses = []
        if len(self._replay) >= batch_size:
            self.reward_unit = self.reward_unit or _usual(self._replay)
            for _ in range(iterations):
                picked = self._random.integers(len(self._replay), size=batch_size)
                batch = stacked(self._replay[i] for i in picked)
                batch = batch._replace(rewards=batch.rewards / self.reward_unit)
                losses.append(self._learner.update(batch))
                self.steps_done += 1
                decayed = self.epsilon * self.settings.epsilon_decay
                self.epsilon = max(decayed, self.settings.least_epsilon)
                if self.steps_done % self.settings.save_every == 0:
                    self.save()
                if self.steps_done % self.settings.publish_every == 0:
                    self.publish()
        return self.progress() | {"loss": float(np.mean(losses)) if losses else None}

    def progress(self) -> dict[str, Any]:
        """What `/stats` of the service tells."""
        return {
            "epsilon": self.epsilon,
            "buffer_size": len(self._replay),
            "steps_done": self.steps_done,
            "unusable": self._unusable,
            "refused": self.refused,
        }

    def publish(self) -> str:
        """The version that is published; "" if the policy is not sound, see `refused`."""
        try:
            told = {"steps": self.steps_done, "epsilon": self.epsilon}
            file = self._learner.policy_file(told)
            recent = [each.observation for each in list(self._replay)[-_RECENT:]]
            self.refused = refusal(file, np.array(recent)) if recent else "nothing was learned yet"
            if not self.refused:
                return self.store.publish(file)
        except ValueError as error:
            self.refused = str(error)
        _logger.warning(
            "the policy of %d steps is not published: %s", self.steps_done, self.refused
        )
        return ""

    def save(self) -> None:
        """Keep all that it has learned.

        Raises:
            ValueError: if the store's folder cannot be written.
        """
        self.store.prepare()
        unfinished = self.store.folder / f".{_SAVED}.{uuid4().hex}"
        progress = {
            "epsilon": self.epsilon,
            "steps_done": self.steps_done,
            "reward_unit": self.reward_unit,
            "shape": self._logged.observation_space.shape,
        }
        try:
            self._learner.save(unfinished)
            (unfinished / _PROGRESS).write_text(json.dumps(progress))
            old = self.store.folder / f".old.{uuid4().hex}"
            if (saved := self.store.folder / _SAVED).exists():
                os.rename(saved, old)
            os.rename(unfinished, saved)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise ValueError(f"{self.store.folder} cannot be written: {error}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _restore(self) -> None:
        """Go on from what was saved; what is broken, or saw something else, is set aside."""
        saved = self.store.folder / _SAVED
        if not saved.exists():
            return
        try:
            progress = json.loads((saved / _PROGRESS).read_text())
            if tuple(progress["shape"]) != self._logged.observation_space.shape:
                raise ValueError(f"its observations have the shape {progress['shape']}")
            self._learner.restore(saved)
            self.epsilon = float(progress["epsilon"])
            self.steps_done = int(progress["steps_done"])
            self.reward_unit = progress["reward_unit"]
        except Exception as error:  # whatever a broken pickle raises
            aside = self.store.folder / f"{_SAVED}.broken-{uuid4().hex}"
            _logger.warning("learning begins anew; %s is now %s: %r", saved, aside, error)
            os.rename(saved, aside)
            self._begin()

    def _read(self) -> None:
        """Take what is new in the log."""
        if not self._log.exists():
            return
        for experience in joined(self._log, self._after):
            if experience.following is None:
                continue  # it comes again, unless a later one is done by then
            self._after = experience.seq
            try:
                self._replay.append(transition(experience, self._logged))
            except ValueError:
                self._unusable += 1


def _usual(replay: Iterable[Transition]) -> float:
    """The median size of rewards, 1 if most are 0."""
    return float(np.median([abs(each.reward) for each in replay])) or 1.0
