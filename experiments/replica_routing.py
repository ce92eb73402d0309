"""Does a gateway that learned to route requests beat the best tuned rules?

    python experiments/replica_routing.py train --preset mixed --seeds 0
    python experiments/replica_routing.py evaluate --models-dir runs/replica_routing/mixed
    python experiments/replica_routing.py compare --presets long mixed --jobs 2
    python experiments/replica_routing.py tune --preset mixed --trials 16
    python experiments/replica_routing.py loads --preset mixed
    python experiments/replica_routing.py plot --presets mixed
    python experiments/replica_routing.py assign --preset mixed --policy RUN --to FOLDER
    python experiments/replica_routing.py measure --out FILE
    python experiments/replica_routing.py bound --passes FILE
    python experiments/replica_routing.py calibrate --passes FILE
    python experiments/replica_routing.py validate --reference FOLDER

Every field of the problem is a flag: --load, --speeds, --scrape-s, --reward and so on. Requests are
those of synthetic conversations, or of a file: --trace file --trace-path FILE. Everything is in
runs/replica_routing/<preset>/: one folder per run, results.csv, table.md and plots/. `tune`
searches the numbers of the rules, and `loads` plays policies at several loads. `assign` writes
where a policy sends each request of an episode, for other engines to replay. `measure` times
passes of a model on this machine's GPU, which `bound` compares with its data sheet. `validate`
holds the simulator to what an independent engine did, and to what a real one did, whose timing
`calibrate` finds.
"""

import sys
from collections.abc import Sequence

from marlserve.experiments.studies import commands
from marlserve.experiments.studies.replica_routing.assignments import Assign
from marlserve.experiments.studies.replica_routing.bounding import Bound
from marlserve.experiments.studies.replica_routing.calibration import Calibrate
from marlserve.experiments.studies.replica_routing.loads import Loads
from marlserve.experiments.studies.replica_routing.measuring import Measure
from marlserve.experiments.studies.replica_routing.study import STUDY
from marlserve.experiments.studies.replica_routing.tuning import Tune
from marlserve.experiments.studies.replica_routing.validation import Validate

_FURTHER = {
    "tune": Tune,
    "loads": Loads,
    "assign": Assign,
    "measure": Measure,
    "bound": Bound,
    "calibrate": Calibrate,
    "validate": Validate,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    return commands.main(STUDY, __doc__, argv, _FURTHER)


if __name__ == "__main__":
    sys.exit(main())
