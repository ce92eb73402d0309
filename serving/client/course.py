"""How far the programs of the examples go, what they say on the way, and their command lines."""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import tyro

from marlserve.envs import checks
from marlserve.serving.client.agent import Agent

_WINDOW = 100  # episodes
_TELL_EVERY_S = 10.0


@dataclass(frozen=True)
class Enough:
    """When a program stops: at the first of these.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    minutes: float = 60.0  # from the first policy on, for which it waits as long
    most_steps: int = 1_000_000_000  # decisions; no more begin after so many
    until_return: float = inf  # mean of the latest 100 episodes

    def __post_init__(self) -> None:
        checks.number(self, "minutes", 0.0, 1e6)
        checks.whole(self, "most_steps", 1)
        checks.number(self, "until_return", -inf, inf)


USUAL = Enough()


class Course:
    """What a program has done; begins once there is a policy.

    Attributes:
        is_over: whether it was enough.

    Raises:
        ValueError: if no policy comes.
    """

    def __init__(self, agent: Agent, enough: Enough):
        if not agent.wait_for_policy(60.0 * enough.minutes):
            settings, minutes = agent.settings, enough.minutes
            raise ValueError(
                f"{settings.address} had no policy {settings.policy!r} in {minutes:g} minutes"
            )
        self._agent, self._enough, self._steps = agent, enough, 0
        self._start_s = self._told_s = time.monotonic()
        self._returns = deque[float](maxlen=_WINDOW)
        self.is_over = False

    def note(self, steps: int, returns: Sequence[float] = ()) -> None:
        """So many steps were made, and episodes ended that earned this; a line every ten seconds
        and as it ends has the steps so far, the mean return, and what decisions take."""
        self._steps += steps
        self._returns.extend(returns)
        enough, now_s = self._enough, time.monotonic()
        self.is_over = self._steps >= enough.most_steps
        self.is_over |= now_s > self._start_s + 60.0 * enough.minutes
        if len(self._returns) == _WINDOW:
            self.is_over |= float(np.mean(self._returns)) >= enough.until_return
        if self.is_over or now_s > self._told_s + _TELL_EVERY_S:
            self._told_s = now_s
            print(self._line(now_s - self._start_s), flush=True)

    def _line(self, seconds: float) -> str:
        times_us, newest = self._agent.books.decision_us(), self._agent.link.newest
        version = 0 if newest is None else newest.version
        mean = float(np.mean(self._returns)) if self._returns else np.nan
        return (
            f"{seconds:.0f} s, {self._steps:,} steps, return {mean:.1f}, version {version}, "
            f"decision {times_us.mean():.1f} us, p99 {np.percentile(times_us, 99):.1f} us, lost "
            f"{self._agent.outbox.lost.total():,}"
        )


def main(run: Callable[..., None], description: str | None) -> None:
    """Run a program by its command line; an error is one line."""
    try:
        tyro.cli(run, description=description, config=(tyro.conf.OmitArgPrefixes,))
    except ValueError as error:
        sys.exit(f"error: {error}")
