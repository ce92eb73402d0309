"""How much memory a program has with a client, beside the same program without one."""

import time
from contextlib import ExitStack
from typing import Any

from marlserve.serving.trainer.speed.programs import POLICY, Running, trainer

_EARLY_S = 2.0


def run(seconds: float) -> None:
    """Print a table; CartPole's loop, while a trainer learns by PPO.

    Args:
        seconds: that programs live.
    """
    print("\n| | resident MB: after 2 s | at the end | more than without a policy |")
    print("| --- | ---: | ---: | ---: |")
    with trainer() as learning:
        given = {"address": learning.address, "policy": POLICY}
        sides: dict[str, tuple[str, dict[str, Any]]] = {
            "no policy": ("bare", {}),
            "client": ("held", given),
            "client, numpy": ("held", given | {"evaluator": "numpy"}),
            "16 clients": ("held", given | {"count": 16, "seed": 100}),
        }
        with ExitStack() as stack:
            programs = {
                side: stack.enter_context(Running(module, **options))
                for side, (module, options) in sides.items()
            }
            for program in programs.values():
                program.wait()
            time.sleep(_EARLY_S)
            early = {side: program.resident_mb() for side, program in programs.items()}
            time.sleep(max(seconds - _EARLY_S, 0.0))
            late = {side: program.resident_mb() for side, program in programs.items()}
    for side in sides:
        more = late[side] - late["no policy"]
        print(f"| {side} | {early[side]:.0f} | {late[side]:.0f} | {more:.0f} |")
