"""An example: a program that lands on the moon, and learns to from the trainer that it is named.

    python -m marlserve.serving.trainer --config luna.json
    python -m marlserve.serving.client.lander --config luna.json --until-return 200

It owns its main loop: Gymnasium's LunarLander-v3, which `pip install "marlserve[lander]"` brings.
A line every ten seconds, and one as it ends, has the steps so far, the mean return of the latest
100 episodes, and what decisions take.
"""

import sys
import time
from collections import deque
from pathlib import Path

import gymnasium
import numpy as np
import tyro

from marlserve.serving.client.agent import Agent
from marlserve.serving.client.rl4sys import client_settings
from marlserve.serving.wire.program import read

_WINDOW = 100  # episodes
_TELL_EVERY_S = 10.0


def fly(agent: Agent, env: gymnasium.Env, seed: int | None = None) -> tuple[float, int]:
    """One flight; its return, and how many steps it had."""
    seen, _ = env.reset(seed=seed)
    earned, steps, over = 0.0, 0, False
    while not over:
        decision = agent.act(seen)
        seen, reward, terminated, truncated, _ = env.step(decision.action)
        decision.reward(float(reward))
        earned, steps, over = earned + float(reward), steps + 1, terminated or truncated
    agent.end(terminated, truncated and not terminated, seen)
    return earned, steps


def run(
    config: Path,
    minutes: float = 60.0,
    most_steps: int = 1_000_000_000,
    until_return: float = float("inf"),
    seed: int = 0,
) -> None:
    """Fly until it is enough.

    Args:
        config: the file that the trainer has, too.
        minutes: at most.
        most_steps: no flight begins after so many.
        until_return: mean of the latest 100 flights that is enough.
        seed: of the flights.
    """
    env = gymnasium.make("LunarLander-v3", disable_env_checker=True)
    returns, steps = deque[float](maxlen=_WINDOW), 0
    with Agent(client_settings(read(config))) as agent:
        agent.wait_for_policy(60.0 * minutes)
        start_s = told_s = time.monotonic()
        is_over = False
        flight_seed: int | None = seed
        while not is_over:
            earned, count = fly(agent, env, flight_seed)
            flight_seed = None
            returns.append(earned)
            steps, now_s = steps + count, time.monotonic()
            is_over = len(returns) == _WINDOW and float(np.mean(returns)) >= until_return
            is_over |= steps >= most_steps or now_s > start_s + 60.0 * minutes
            if is_over or now_s > told_s + _TELL_EVERY_S:
                told_s = now_s
                print(_line(agent, told_s - start_s, steps, float(np.mean(returns))), flush=True)


def _line(agent: Agent, seconds: float, steps: int, mean: float) -> str:
    times_us, newest = agent.books.decision_us(), agent.link.newest
    version = 0 if newest is None else newest.version
    return (
        f"{seconds:.0f} s, {steps:,} steps, return {mean:.1f}, version {version}, decision "
        f"{times_us.mean():.1f} us, p99 {np.percentile(times_us, 99):.1f} us, lost "
        f"{agent.outbox.lost.total():,}"
    )


if __name__ == "__main__":
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
