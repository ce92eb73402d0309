"""Making the tables of KV compression: in this process, or one process for each device."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from marlserve.envs.kv_compression import Config, table

SPLITS = ("train", "test")
_POLL_S = 0.5


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
            workers.append(context.Process(target=_work, args=(folder, own)))
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


def _work(folder: Path, jobs: list[tuple[Config, int]]) -> None:
    """What one worker does."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    for problem, first in jobs:
        table.build(folder, problem, first)
