"""Does a scheduler of a cluster that learned beat tuned rules, with and without backfilling?

    python experiments/job_scheduling.py train --preset lublin --algorithms ppo_backfill
    python experiments/job_scheduling.py evaluate --models-dir runs/job_scheduling/lublin
    python experiments/job_scheduling.py compare --presets lublin lublin_256 --jobs 2
    python experiments/job_scheduling.py plot --preset lublin
    python experiments/job_scheduling.py export --help

Every field of the problem is a flag: --num-jobs, --overestimate, --reward and so on. Jobs are
drawn, or those of a file: --trace file --trace-path FILE takes the Standard Workload Format. The
preset lublin_256 plays such a file below the folder that MARLSERVE_DATA names. Everything is in
runs/job_scheduling/<preset>/: one folder per run, results.csv, table.md and plots/.
"""

import sys
from collections.abc import Sequence

from marlserve.experiments.studies import commands
from marlserve.experiments.studies.job_scheduling.study import STUDY


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    return commands.main(STUDY, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
