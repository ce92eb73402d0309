"""How fast simulator, sampler and training are, beside what one would use without them.

    python experiments/benchmark.py simulator --seconds 5
    python experiments/benchmark.py                          # all parts

`simulator`  jobs, by the compiled simulator, by plain Python and by SimPy: `benchmarks.simulator`.
`sampling`   env-steps, by `VectorEnvRunner` and by RLlib's runner, under Wikipedia's traffic, and
             `sampling_poisson` under a tenth of the jobs: `benchmarks.learning`.
`training`   env-steps of QMIX, replay and updates included, beside the same written plainly, and
             `sac_training` of recurrent SAC with 16 servers: `benchmarks.learning`.
`kv_cache`   env-steps of the KV-cache problem, and `kv_cache_training` of PPO on it, beside RLlib's
             PPO: `benchmarks.kv_cache`.
`kv_compression`  answers, one for each arm and prompt, with all arms of a prompt side by side, and
             `kv_compression_training` of NeuralLinear, from a table: `benchmarks.kv_compression`.
`routing`    requests that are sent to replicas, with all that gateways see: `benchmarks.routing`.
`job_scheduling`  decisions about which job is started next: `benchmarks.job_scheduling`.
`decision`   greedy decisions of a small network, one at a time, from a policy file and by torch:
             `benchmarks.decision`.

All rates are per second of CPU time of this one process with one thread, so that they hold, about,
on a machine that is busy with other things too. `ratio` is to the row that has 1.0; both were
measured in this run, and if they train, by the same number of updates of the weights for each
env-step, which `updates` says. A row without a ratio has nothing beside it that does the same. The
rows go to runs/benchmark.csv, where they replace those of the same part.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it

import pandas as pd
import tyro
from rich.console import Console
from rich.table import Table

from marlserve.experiments.benchmarks import decision, kv_cache, kv_compression
from marlserve.experiments.benchmarks.job_scheduling import DECISIONS
from marlserve.experiments.benchmarks.learning import (
    PLAIN_QMIX,
    RECURRENT_SAC,
    RLLIB,
    TRAINING,
    sampling,
)
from marlserve.experiments.benchmarks.routing import ROUTING
from marlserve.experiments.benchmarks.simulator import PLAIN, SIMULATOR
from marlserve.experiments.benchmarks.work import Side, Work
from marlserve.experiments.harness.experiment import RUNS
from marlserve.policies import session

_SAME_UPDATES = 0.1  # relative; a side's last iteration may be cut off before its updates


@dataclass(frozen=True)
class Part:
    """Sides that do the same, counted in `unit`; `base` is the one to compare with, if any."""

    unit: str
    sides: Mapping[str, Callable[[], Side]]
    base: str | None


PARTS = {
    "simulator": Part("jobs", SIMULATOR, PLAIN),
    "sampling": Part("env-steps", sampling("wikipedia"), RLLIB),
    "sampling_poisson": Part("env-steps", sampling("poisson"), RLLIB),
    "training": Part("env-steps", TRAINING, PLAIN_QMIX),
    "sac_training": Part("env-steps", RECURRENT_SAC, None),
    "kv_cache": Part("env-steps", kv_cache.ENVIRONMENT, kv_cache.PLAIN),
    "kv_cache_training": Part("env-steps", kv_cache.TRAINING, kv_cache.RLLIB),
    "kv_compression": Part("answers", kv_compression.ANSWERS, kv_compression.ALONE),
    "kv_compression_training": Part(
        "pulls", kv_compression.TRAINING, kv_compression.FROM_THE_MODEL
    ),
    "routing": Part("requests", ROUTING, None),
    "job_scheduling": Part("decisions", DECISIONS, None),
    "decision": Part("decisions", decision.DECISION, decision.TORCH),
}


@dataclass(frozen=True)
class Row:
    """What one side does."""

    part: str
    side: str
    unit: str
    per_cpu_s: float
    ratio: float | None  # to the part's base
    updates: float  # of weights, for each unit


def measure(name: str, seconds: float) -> list[Row]:
    """All sides of a part, for this many CPU seconds each.

    Raises:
        ValueError: if sides that are compared make different numbers of updates.
    """
    part = PARTS[name]
    works = {side: total(make(), seconds) for side, make in part.sides.items()}
    if name.endswith("training"):
        session.stop()
    rates = {side: work.units / work.cpu_s for side, work in works.items()}
    updates = {side: work.updates / work.units for side, work in works.items()}
    if part.base and max(updates.values()) > (1 + _SAME_UPDATES) * min(updates.values()):
        raise ValueError(f"the sides of {name} update at different rates per unit: {updates}")
    return [
        Row(name, side, part.unit, x, x / rates[part.base] if part.base else None, updates[side])
        for side, x in rates.items()
    ]


def total(side: Side, seconds: float) -> Work:
    """What is done in this much CPU time; what is done first is a warm-up and does not count."""
    side()
    done = Work(0, 0.0)
    while done.cpu_s < seconds:
        more = side()
        done = Work(done.units + more.units, done.cpu_s + more.cpu_s, done.updates + more.updates)
    return done


def write(rows: list[Row], path: Path) -> None:
    """Replace the rows of these parts, and keep the others."""
    table = pd.DataFrame([asdict(row) for row in rows])
    if path.exists():
        before = pd.read_csv(path)
        table = pd.concat([before[~before["part"].isin(table["part"])], table])
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def show(rows: list[Row]) -> None:
    """Print a table."""
    table = Table("part", "side", "per CPU second", "ratio", "updates per unit")
    table.caption = "one process, one thread"
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            row.part,
            row.side,
            f"{row.per_cpu_s:,.0f} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.1f}",
            f"{row.updates:.4f}" if row.updates else "",
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120  # a file has no width of its own
    console.print(table)


def main(
    part: Annotated[Literal["all", *PARTS], tyro.conf.Positional] = "all",  # type: ignore[valid-type]
    seconds: float = 5.0,
    out: Path = RUNS,
) -> None:
    """Measure, print a table, and write benchmark.csv.

    Args:
        part: what to measure.
        seconds: CPU time for every row.
        out: the folder of benchmark.csv.
    """
    if not 0.0 < seconds <= 3600.0:
        raise ValueError(f"seconds is {seconds}; expected a positive number, at most 3600")
    rows = []
    for name in PARTS if part == "all" else [part]:
        rows += measure(name, seconds)
        write(rows, out / "benchmark.csv")
    show(rows)


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
