"""Does an operator of KV-cache compression that learned earn more than the best rules?

    python experiments/kv_cache.py train --preset synthetic --algorithms ppo dqn
    python experiments/kv_cache.py evaluate --models-dir runs/kv_cache/synthetic
    python experiments/kv_cache.py compare --preset synthetic --seeds 0 1 2 --jobs 2
    python experiments/kv_cache.py tune --preset synthetic
    python experiments/kv_cache.py plot --preset synthetic --policies load_aware ppo oracle

Every field of the problem is a flag: --num-servers, --episode-hours, --start-time, --reward and so
on. Everything is in runs/kv_cache/<preset>/: <algorithm>/seed_<n>/ for every run, results.csv,
table.md and plots/.

The preset synthetic needs no files. For realistic (parts of a week of 2024), service_floor (the
same, where 93 % of all requests are to be served) and code_2023 (minutes of an hour), either
MARLSERVE_DATA names a folder with the recorded files, or --invocations-path, --price-path and
--profile-path do. `tune` searches the numbers of the rules on training windows.
"""

import sys
from collections.abc import Sequence

from marlserve.experiments.studies import commands
from marlserve.experiments.studies.kv_cache.study import STUDY
from marlserve.experiments.studies.kv_cache.tuning import Tune


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    return commands.main(STUDY, __doc__, argv, {"tune": Tune})


if __name__ == "__main__":
    sys.exit(main())
