"""Does NeuralUCB find the best arm where a linear model cannot, as in its paper?

    python experiments/contextual_bandit.py train --preset cosine --algorithms neural_ucb --seeds 1
    python experiments/contextual_bandit.py compare --seeds 0 1 2 3 4
    python experiments/contextual_bandit.py plot

What counts is the cumulative regret while learning, so there is nothing to evaluate afterwards.
All three functions are even: over all contexts, the best linear model of them is a constant.

Every field of the problem is a flag. Everything is in runs/contextual_bandit/<preset>/:
<algorithm>/seed_<n>/ for every run, regret.csv, regret.md and plots/.
"""

import sys
from collections.abc import Sequence

from marlserve.experiments.studies import commands
from marlserve.experiments.studies.contextual_bandit.study import STUDY


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    return commands.main(STUDY, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
