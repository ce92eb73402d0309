"""Does a bandit that looks at a prompt compress its KV cache better than one fixed method?

    python experiments/kv_compression.py train --preset tagged --env-steps 3008
    python experiments/kv_compression.py evaluate --models-dir runs/kv_compression/untagged
    python experiments/kv_compression.py compare --preset untagged --seeds 0 1 2 3 4 --jobs 2
    python experiments/kv_compression.py plot --preset untagged
    python experiments/kv_compression.py make-table --model-name some/model --devices cuda:0 cuda:1
    python experiments/kv_compression.py encode-table --preset smollm2_10 --text-encoder minilm
    python experiments/kv_compression.py make-prompts
    python experiments/kv_compression.py compare --preset smollm2_10
    python experiments/kv_compression.py make-profile --preset smollm2 --watts 60
    python experiments/kv_compression.py measure-speeds --preset smollm2 --watts 60
    python experiments/kv_compression.py off-policy --preset smollm2_10
    python experiments/kv_compression.py learnable --preset smollm2_10
    python experiments/kv_compression.py tune --presets smollm2_5 smollm2_10 smollm2_25
    python experiments/kv_compression.py make-model --seed 0

Every field of the problem is a flag: --budgets, --context, --reward cosine, --model-name and so on.
Trainings look outcomes up in a table of prompts and arms, which is made before them if it is not
there; with --table-path "" they ask the model each time, and nobody knows the regret.
The presets smollm2, smollm2_5, smollm2_10 and smollm2_25 have a model that talks, and prompts of
real text that make-prompts writes; `marlserve.envs.sims.kv_compression.gguf_files` says what to
install. Everything is in runs/kv_compression/: tables/, and <preset>/ with <algorithm>/seed_<n>/
for every run, results.csv, table.md, regret.csv and plots/.
"""

import sys
from collections.abc import Sequence

from marlserve.experiments.studies import commands
from marlserve.experiments.studies.kv_compression.encode import EncodeTable
from marlserve.experiments.studies.kv_compression.learnable import Learnable
from marlserve.experiments.studies.kv_compression.model import MakeModel
from marlserve.experiments.studies.kv_compression.off_policy import OffPolicy
from marlserve.experiments.studies.kv_compression.profile import MakeProfile, MeasureSpeeds
from marlserve.experiments.studies.kv_compression.real_prompts import MakePrompts
from marlserve.experiments.studies.kv_compression.study import STUDY
from marlserve.experiments.studies.kv_compression.tables import MakeTable
from marlserve.experiments.studies.kv_compression.tuning import Tune

FURTHER = {
    "make-table": MakeTable,
    "encode-table": EncodeTable,
    "make-model": MakeModel,
    "make-prompts": MakePrompts,
    "make-profile": MakeProfile,
    "measure-speeds": MeasureSpeeds,
    "off-policy": OffPolicy,
    "learnable": Learnable,
    "tune": Tune,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    return commands.main(STUDY, __doc__, argv, FURTHER)


if __name__ == "__main__":
    sys.exit(main())
