"""What one of the processes does that make a table side by side.

A process that is spawned imports the module of its function: this one needs no RLlib.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from marlserve.envs.kv_compression import Config, table


def work(folder: Path, jobs: Sequence[tuple[Config, int]], threads: int) -> None:
    """Make these files of the table: what `table.build` is given of each."""
    torch.set_num_threads(threads)
    for problem, first in jobs:
        table.build(folder, problem, first)
