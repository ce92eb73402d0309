"""The command `record`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from marlserve.experiments.harness.evaluate import FIRST_TEST_SEED
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.recording import record
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study


@dataclass(frozen=True)
class Record:
    """Play training episodes, and write what was seen, done and earned to Parquet files that
    RLlib's offline algorithms (BC, MARWIL, CQL) train from; one file per policy.

    Held-out episodes are never recorded: what learned from them could not be judged by them.
    """

    policy: tuple[str, ...] = ()  # heuristics by name, "all" of them, folders of runs
    preset: str = ""  # what to play
    episodes: int = 100  # to play with each policy
    first_seed: int = 0  # of the episodes: first_seed, first_seed + 1, ...
    to: Path = Path("recorded")  # a folder
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        seeds = range(self.first_seed, self.first_seed + self.episodes)
        if not seeds:
            raise ValueError(f"episodes is {self.episodes}; it must be at least 1")
        if not 0 <= self.first_seed <= FIRST_TEST_SEED - self.episodes:
            raise ValueError(
                f"first_seed is {self.first_seed}; allowed are 0 to "
                f"{FIRST_TEST_SEED - self.episodes}: later episodes are held out"
            )
        if not self.policy:
            raise ValueError("there is nothing to play: give --policy")
        problem = asked(study.presets[self.preset], self)
        if getattr(problem, "split", None) == "test":
            raise ValueError("split is 'test', which is held out; record another one")
        study.check(self.preset, problem, "record")
        problem = study.prepared(problem, self.out, ("train",))
        contestants = study.contestants(problem, self.policy)
        self.to.mkdir(parents=True, exist_ok=True)
        with Progress(transient=True) as bar:
            task = bar.add_task("playing", total=self.episodes * len(contestants))
            for x in contestants:
                seed = "" if x.training_seed is None else f"_seed_{x.training_seed}"
                file = self.to / f"{Path(x.name).name}{seed}.parquet"
                rows = record(
                    x,
                    study.problem,
                    seeds,
                    file,
                    num_envs=study.copies(problem),
                    advance=lambda count: bar.advance(task, count),
                )
                bar.console.print(f"{rows:,} rows: {file}", soft_wrap=True)
