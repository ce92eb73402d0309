"""Do load balancers that learn to coordinate beat the best heuristics?

    python experiments/load_balance.py demo
    python experiments/load_balance.py train --preset degraded --algorithms vdn --seeds 1
    python experiments/load_balance.py train --agent-type qmix --num-servers 16 --num-agents 4 \\
        --trace-type wiki --episodes 1000 --save-path checkpoints/qmix_best
    python experiments/load_balance.py evaluate --model checkpoints/qmix_best --policy sed wcmp
    python experiments/load_balance.py compare --presets moderate large quad degraded --jobs 2
    python experiments/load_balance.py compare --presets moderate --load 0.5 0.6
    python experiments/load_balance.py tune --preset degraded
    python experiments/load_balance.py overview
    python experiments/load_balance.py ablate --preset degraded --algorithm qmix --jobs 2
    python experiments/load_balance.py sweep --preset moderate --algorithm qmix --samples 12
    python experiments/load_balance.py plot --presets moderate

Every field of the problem is a flag. `compare` plays a preset at both ends of its range of loads,
or over the range that --load gives. Everything is in runs/load_balance/<preset>/: one folder per
run, results.csv, table.md and plots/. `tune` searches the
numbers of the heuristics. `overview` sums up what `compare` left of all presets.
"""

import sys
from collections.abc import Sequence

from marlserve.experiments.studies import commands
from marlserve.experiments.studies.load_balance.ablation import Ablate
from marlserve.experiments.studies.load_balance.demo import Demo
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.experiments.studies.load_balance.tables import Overview
from marlserve.experiments.studies.load_balance.tuning import Tune

FURTHER = {"demo": Demo, "tune": Tune, "ablate": Ablate, "overview": Overview}


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    return commands.main(STUDY, __doc__, argv, FURTHER)


if __name__ == "__main__":
    sys.exit(main())
