"""An example: a program that lands on the moon, and learns to from the trainer that it is named.

    python -m marlserve.serving.trainer --config luna.json
    python -m marlserve.serving.client.lander --config luna.json --until-return 200

It owns its main loop: Gymnasium's LunarLander-v3, which `pip install "marlserve[lander]"` brings.
A line every ten seconds, and one as it ends, has the steps so far, the mean return of the latest
100 episodes, and what decisions take.
"""

from pathlib import Path

import gymnasium

from marlserve.serving.client.agent import Agent
from marlserve.serving.client.course import USUAL, Course, Enough, main
from marlserve.serving.client.rl4sys import client_settings
from marlserve.serving.wire.program import read


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


def run(config: Path, enough: Enough = USUAL, seed: int = 0) -> None:
    """Fly until it is enough; no flight is broken off.

    Args:
        config: the file that the trainer has, too.
        enough: when that is.
        seed: of the flights.
    """
    env = gymnasium.make("LunarLander-v3", disable_env_checker=True)
    with Agent(client_settings(read(config))) as agent:
        course = Course(agent, enough)
        flight_seed: int | None = seed
        while not course.is_over:
            earned, steps = fly(agent, env, flight_seed)
            course.note(steps, [earned])
            flight_seed = None


if __name__ == "__main__":
    main(run, __doc__)
