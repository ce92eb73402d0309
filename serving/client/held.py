"""A program under control: CartPole's loop, with as many clients as one likes, in turns.

    python -m marlserve.serving.client.held --address 127.0.0.1:50051 --policy cartpole --count 16

It prints `ready` once all of them have a policy. When its standard input ends they are closed, and
a line of JSON says of all together:

    steps        decisions by a policy
    sent         steps that the trainer has, as it said
    lost         steps that it does not have, by reason
    p50_us, ...  of the latest decisions
    cpu_us       of all threads, for a step, while they lived
    wall_s       that they lived
"""

import json
import logging
import sys
import threading
import time
from collections import Counter
from typing import Literal

import numpy as np
import tyro

from marlserve.serving.client.agent import Agent
from marlserve.serving.client.bare import Task, ended
from marlserve.serving.client.settings import ClientSettings

_PATIENCE_S = 180.0
_CLOSE_S = 1.0


class Held:
    """One client and its environment."""

    def __init__(self, settings: ClientSettings):
        self.agent = Agent(settings)
        self._env = Task(settings.seed or 0)
        self._has_begun = False

    def step(self) -> None:
        """Decide, and be told what came of it."""
        decision = self.agent.act(self._env.seen)
        self._has_begun = True
        self._env.step(decision.action, decision.reward, self._end)

    def _end(self, terminated: bool, truncated: bool, seen: np.ndarray) -> None:
        self.agent.end(terminated, truncated, seen)
        self._has_begun = False

    def close(self) -> None:
        """Send what there is, with the last step: it is known what it led to."""
        if self._has_begun:
            self.agent.end(truncated=True, observation=self._env.seen)
        self.agent.close(_CLOSE_S)


def report(agents: list[Agent], cpu_s: float, wall_s: float) -> dict:
    """What became of their steps; see the module."""
    steps = sum(agent.books.last_id - agent.books.fallbacks for agent in agents)
    lost = sum((agent.outbox.lost for agent in agents), Counter())
    times_us = np.concatenate([agent.books.decision_us() for agent in agents])
    p50, p99 = np.percentile(times_us, [50, 99]).tolist()
    sent = sum(agent.link.sent for agent in agents)
    times = {"p50_us": p50, "p99_us": p99, "cpu_us": 1e6 * cpu_s / max(steps, 1)}
    return {"steps": steps, "sent": sent, "lost": dict(lost), "wall_s": wall_s} | times


def run(
    address: str,
    policy: str,
    count: int = 1,
    when_full: Literal["drop", "wait"] = "drop",
    evaluator: Literal["numba", "numpy"] = "numba",
    seed: int = 0,
) -> None:
    """Live until the standard input ends.

    Args:
        address: of the trainer.
        policy: its name there.
        count: clients.
        when_full, evaluator: see `client.settings`.
        seed: of the first client; the others have the next ones.
    """
    if count < 1:
        raise ValueError(f"count is {count}; allowed is at least 1")
    logging.disable(logging.WARNING)  # a trainer that still begins is no trouble
    lives = [
        Held(
            ClientSettings(
                address=address,
                policy=policy,
                client_id=f"{policy}-{each}",
                when_full=when_full,
                evaluator=evaluator,
                seed=each,
            )
        )
        for each in range(seed, seed + count)
    ]
    for life in lives:
        if not life.agent.wait_for_policy(_PATIENCE_S):
            raise ValueError(f"there is no policy after {_PATIENCE_S:g} s")
    over, start_s, cpu_s = ended(), time.monotonic(), time.process_time()
    while not over.is_set():
        for life in lives:
            life.step()
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - start_s
    closing = [threading.Thread(target=life.close) for life in lives]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    print(json.dumps(report([life.agent for life in lives], cpu_s, wall_s)))


if __name__ == "__main__":
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
