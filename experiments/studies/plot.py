"""The command `plot`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study


@dataclass(frozen=True)
class Plot:
    """Draw all plots that the files of runs and results allow.

    The flags of the problem name the folder, as when it was trained or evaluated.
    """

    presets: tuple[str, ...] = ()  # whose runs and results
    policies: tuple[str, ...] = ()  # to show where a plot is of a few; none: the best, and rules
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        for preset in self.presets:
            standard = study.presets[preset]
            if hasattr(standard, "split"):
                standard = replace(standard, split="test")
            problem = asked(standard, self)
            study.check(preset, problem, "plot")
            folder = study.folder(self.out, preset, problem)
            if not folder.is_dir():
                raise ValueError(f"there is no folder {folder}: train or evaluate first")
            drawn = study.draw(self.out, folder, problem, self.policies)
            if not drawn:
                raise ValueError(f"there is nothing to draw in {folder}: train or evaluate first")
            for file in drawn:
                print(f"plot: {file}")
