"""What is learned from programs that own their main loops.

    pip install "marlserve[lander,serve]"
    python experiments/external.py lander --algorithms ppo dqn --seeds 0 1 2
    python experiments/external.py jobs --seeds 0 1 2 3 4

For each seed there are a trainer and a program, processes of their own, as
docs/external_training.md starts them by hand: one flies Gymnasium's LunarLander-v3, one schedules
the jobs of a cluster. The policy files that trainers save as they end are then played where nobody
has learned. What was cut off before begins anew, what has ended is kept. Everything is in
runs/external/.
"""

import sys
from collections.abc import Sequence

from marlserve.experiments.harness.command_line import carry_out
from marlserve.experiments.testbed.external.jobs import Jobs
from marlserve.experiments.testbed.external.lander import Lander


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    commands: dict[str, type] = {"lander": Lander, "jobs": Jobs}
    return carry_out(commands, None, __doc__, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
