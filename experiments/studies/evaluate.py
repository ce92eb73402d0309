"""The command `evaluate`, and how results are added to what there is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.evaluate import experiments_of, held_out_seeds, play_all
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.locks import taking_turns
from marlserve.experiments.harness.results import check_fits, merge_results
from marlserve.experiments.harness.run import write
from marlserve.experiments.studies import runs
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study


@dataclass(frozen=True)
class Evaluate:
    """Play held-out episodes with trained policies and heuristics, add them to results.csv and
    table.md, and print the table of all results there are.

    Learned policies keep their own way of acting; the flags of the problem say what is met.
    """

    model: Path | None = None  # a run: plays on what it was trained on, unless flags change that
    models_dir: Path | None = None  # every run in or below it plays
    policy: tuple[str, ...] = ("all",)  # heuristics by name, "all" of them, folders, checkpoints
    preset: str | None = None  # what to play; None: the first one, or what the model was trained on
    episodes: int = 100  # to play with each policy
    checkpoint: Literal["best", "final"] | None = None  # of runs; None: the usual one
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        preset, standard = self._standard(study)
        problem = asked(standard, self)
        study.check(preset, problem, "evaluate")
        names: list[str | Path] = [self.model] if self.model is not None else []
        if self.models_dir is not None:
            names += runs.runs_below(self.models_dir, study.problem)
        names += self.policy
        if not names:
            raise ValueError("there is nothing to play: give --model, --models-dir or --policy")
        held_out_seeds(self.episodes)  # a bad number is an error before the work
        for name in names:
            if Path(name).is_dir():
                study.check_run(Path(name), problem)
        problem = study.prepared(problem, self.out, ("train", "test"))
        contestants = study.contestants(problem, names, which=self.checkpoint)
        report(study, self.out, preset, problem, contestants, self.episodes)

    def _standard(self, study: Study) -> tuple[str, Any]:
        """The preset, and the Config that flags change."""
        if self.model is not None and self.preset is None:
            preset, problem = study.trained_on(self.model)
        else:
            preset = self.preset or next(iter(study.presets))
            problem = study.presets[preset]
        return preset, replace(problem, split="test")


def report(
    study: Study,
    out: Path,
    preset: str,
    problem: Any,
    contestants: Sequence[Contestant],
    episodes: int,
) -> Path:
    """Play, print the table of all results there are now, and write it to table.md.

    Returns:
        the folder of results.csv.
    """
    folder = study.folder(out, preset, problem)
    check_fits(folder / "results.csv", study.problem, study.told(problem))
    rows = play_all(contestants, study.problem, episodes, study.copies(problem))
    trained = experiments_of(contestants)
    with taking_turns(folder):
        there = merge_results(
            folder / "results.csv", rows, study.problem, study.told(problem), trained
        )
        text = study.show(there, problem, f"{study.problem}, {folder.name}")
        write(folder / "table.md", text)
    print(f"all results: {folder / 'results.csv'}")
    return folder
