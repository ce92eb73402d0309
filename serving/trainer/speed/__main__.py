"""What learning from programs costs them, and how much of what they do is learned from.

python -m marlserve.serving.trainer.speed                    # all of it, some 5 minutes
python -m marlserve.serving.trainer.speed --parts queue --seconds 60

learning     steps that PPO learns from, of clients and by what RLlib has: `learning`
decisions    CPU and time that a client takes of a loop: `client.speed`
memory       that a program has more with a client: `memory`
queue        what becomes of the steps of 1 to 64 clients at once: `crowd`
"""

import sys
from typing import Literal

import tyro

from marlserve.serving.client import speed as decisions
from marlserve.serving.trainer.speed import crowd, learning, memory

Part = Literal["learning", "decisions", "memory", "queue"]
_PARTS: tuple[Part, ...] = ("learning", "decisions", "memory", "queue")


def run(seconds: float = 20.0, parts: tuple[Part, ...] = _PARTS) -> None:
    """Measure, and print a table for each part.

    Args:
        seconds: of each side of `learning`; twice as long for all of `decisions`, and half as long
            for `memory` and for each row of `queue`.
        parts: what is measured, in this order.
    """
    if not 0.0 < seconds <= 36_000.0:
        raise ValueError(f"seconds is {seconds}; allowed is a positive number, at most 36000")
    measured = {
        "learning": lambda: learning.run(seconds),
        "decisions": lambda: decisions.run(2.0 * seconds),
        "memory": lambda: memory.run(0.5 * seconds),
        "queue": lambda: crowd.run(0.5 * seconds),
    }
    for part in parts:
        measured[part]()


if __name__ == "__main__":
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
