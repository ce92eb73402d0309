"""Telling a table anew by a text encoder, as a command."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import track

from marlserve.envs.kv_compression import encoded, table
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.kv_compression.settings import AUTO, whole_table
from marlserve.experiments.studies.kv_compression.tables import SPLITS, named_table
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study


@dataclass(frozen=True)
class EncodeTable:
    """Make a table with --text-encoder of one without, asking no language model; see
    `marlserve.envs.kv_compression.encoded`. Stopped, it goes on where it was."""

    preset: str = ""  # whose table; the flags of the problem change it
    plain: str = AUTO  # the folder of the table without; auto: that among the runs
    splits: tuple[str, ...] = SPLITS  # which of its prompts
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        wanted = asked(study.presets[self.preset], self)
        study.check(self.preset, replace(wanted, table_path=AUTO), "encode-table")
        problem = named_table(wanted, self.out)
        if wanted.table_path == AUTO:
            problem = whole_table(problem)
        without = replace(encoded.without(problem), table_path=self.plain)
        plain = Path(named_table(without, self.out).table_path)
        folder = Path(problem.table_path)
        for split in self.splits:
            part = replace(problem, split=split)
            for first in track(table.missing(folder, part), f"encoding {split}"):
                encoded.build(plain, folder, part, first)
        print(f"table: {folder}")
