"""A program under control that has no policy: CartPole's loop, beside which `held` is measured.

    python -m marlserve.serving.client.bare          # until its standard input ends

It prints `ready` once it lives, and at its end a line of JSON: how many steps it were.
"""

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

READY = "ready"


class Task:
    """An environment of Gymnasium that begins anew by itself.

    Attributes:
        seen: [O], what is observed now.
    """

    def __init__(self, seed: int, name: str = "CartPole-v1"):
        self._env = gymnasium.make(name, disable_env_checker=True)
        self.seen: np.ndarray
        self.seen, _ = self._env.reset(seed=seed)

    def step(
        self,
        action: Any,
        tell: Callable[[float], object],
        end: Callable[[bool, bool, np.ndarray], object],
    ) -> None:
        """One action: `tell` is told its reward and then, if the episode is over, `end` whether it
        was terminated or truncated, and which observation it ended with."""
        self.seen, reward, terminated, truncated, _ = self._env.step(action)
        tell(float(reward))
        if terminated or truncated:
            end(terminated, truncated and not terminated, self.seen)
            self.seen, _ = self._env.reset()


def nobody(*_: Any) -> None:
    """Whom to tell what is not to be known."""


def ended() -> threading.Event:
    """Says `ready`, and is set when the standard input ends."""
    event = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        event.set()

    threading.Thread(target=watch, daemon=True).start()
    print(READY, flush=True)
    return event


def run() -> None:
    """Go through the loop."""
    env, steps, over = Task(0), 0, ended()
    while not over.is_set():
        env.step(0, nobody, nobody)
        steps += 1
    print(json.dumps({"steps": steps}))


if __name__ == "__main__":
    run()
