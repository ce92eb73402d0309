"""Making the tables of KV compression: in this process, or one process for each device."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from marlserve.envs.kv_compression import Config, table
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.kv_compression import table_worker
from marlserve.experiments.studies.kv_compression.settings import AUTO, table_folder, whole_table
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study

SPLITS = ("train", "validation", "test")
_POLL_S = 0.5


def named_table(problem: Config, out: Path) -> Config:
    """With the path of its table, in place of `AUTO`."""
    if problem.table_path != AUTO:
        return problem
    return replace(problem, table_path=str(table_folder(out, problem).resolve()))


def with_table(problem: Config, out: Path, splits: Sequence[str]) -> Config:
    """The same, and what lacks of the table is made; one that is given must be whole."""
    named = named_table(problem, out)
    if problem.table_path == AUTO:
        make(whole_table(named), Path(named.table_path), splits=splits)
    return named


@dataclass(frozen=True)
class MakeTable:
    """Try every arm on every prompt and write down what becomes of it. Stopped, it goes on where
    it was; the prompts do not depend on the context, the reward or the price."""

    preset: str = ""  # whose prompts; the flags of the problem change them
    splits: tuple[str, ...] = SPLITS  # which of its prompts
    devices: tuple[str, ...] = ()  # a worker for each, as cuda:0 cuda:1; none: --device, here
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        wanted = asked(study.presets[self.preset], self)
        problem = named_table(wanted, self.out)
        if not problem.table_path:
            raise ValueError("table_path is ''; leave it out, or name a folder for the table")
        study.check(self.preset, replace(problem, table_path=AUTO), "make-table")
        if wanted.table_path == AUTO:
            problem = whole_table(problem)
        make(problem, Path(problem.table_path), self.devices, self.splits)
        print(f"table: {problem.table_path}")


def make(
    problem: Config, folder: Path, devices: Sequence[str] = (), splits: Sequence[str] = SPLITS
) -> None:
    """Make what a table lacks; Ctrl-C loses no more than the prompts of a file.

    Args:
        problem: any split of it.
        folder: where the table is, or will be.
        devices: a worker for each, as ("cuda:0", "cuda:1") or ("cpu", "cpu"); none: the problem's
            own, in this process.
        splits: which prompts.

    Raises:
        ValueError: if the folder holds another table.
        ChildProcessError: if a worker failed; it says itself why.
    """
    parts = [replace(problem, split=split, table_path="") for split in splits]
    jobs = [(part, first) for part in parts for first in table.missing(folder, part)]
    if not jobs:
        return
    columns = (
        TextColumn("table {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"files of {table.CHUNK} prompts"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(folder.name, total=len(jobs))
        if len(devices) < 2:
            device = devices[0] if devices else problem.device
            for part, first in jobs:
                table.build(folder, replace(part, device=device), first)
                bar.advance(task)
            return
        context, workers = get_context("spawn"), []
        for i, device in enumerate(devices):
            own = [(replace(part, device=device), first) for part, first in jobs[i :: len(devices)]]
            threads = max(1, (os.cpu_count() or 1) // len(devices))
            workers.append(context.Process(target=table_worker.work, args=(folder, own, threads)))
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers):
                time.sleep(_POLL_S)
                left = sum(len(table.missing(folder, part)) for part in parts)
                bar.update(task, completed=len(jobs) - left)
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()
    if any(worker.exitcode for worker in workers):
        raise ChildProcessError(f"a worker for {folder} failed; the same command goes on")
