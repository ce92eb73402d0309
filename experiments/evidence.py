"""Makes the published tables from nothing, or plays what is published again and compares.

    python experiments/evidence.py list
    python experiments/evidence.py make --tables load_balance/degraded
    python experiments/evidence.py check

`make` carries out the commands that `list` shows, which takes hours for all tables, and copies
tables, means, plots and policy files to experiments/results/. It goes on where it was stopped.
`check` plays the published policy files and the heuristics on the same held-out episodes, which
takes minutes, and says how far their means are from the published ones. Tables of recorded files
need MARLSERVE_DATA.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Shown

from marlserve.experiments.harness.command_line import carry_out
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.flags import with_choices
from marlserve.experiments.studies.published import TABLES, Table


@dataclass(frozen=True)
class List:
    """Show the tables, the commands that make them, and how long these take."""

    def run(self, _: object) -> None:
        for table in TABLES:
            print(f"{table.name}: {table.cpu_minutes} CPU-minutes, {table.episodes} episodes")
            for line in table.lines(RUNS):
                print(f"    python experiments/{table.problem}.py {shlex.join(line)}")


@dataclass(frozen=True)
class Make:
    """Make tables anew."""

    tables: tuple[str, ...] = ()  # none named: all
    out: Path = RUNS  # where all runs are

    def run(self, _: object) -> None:
        for table in _named(self.tables):
            table.make(self.out)


@dataclass(frozen=True)
class Check:
    """Play what is published again, and end with an error if a mean differs."""

    tables: tuple[str, ...] = ()  # none named: all
    tolerance: float = 0.01  # relative, of the means of learned policies; a last digit may decide

    def run(self, _: object) -> None:
        shown = Shown("table", "policies", "means", "largest difference", "of")
        beyond = 0
        for table in _named(self.tables):
            found = table.check()
            for played, rows in found.groupby("played"):
                worst = rows.loc[rows["difference"].idxmax()]
                policies = rows.groupby(["policy", "training_seed"]).ngroups
                of = f"{worst['policy']}, {worst['metric']}"
                shown.add_row(
                    str(played), str(policies), str(len(rows)), f"{worst['difference']:.2g}", of
                )
            beyond += int((found["difference"] > self.tolerance).sum())
        Console().print(shown)
        if beyond:
            raise ValueError(f"{beyond} means differ by more than {self.tolerance} of themselves")


def _named(names: Sequence[str]) -> list[Table]:
    """What is wrong with any of them is told before the work."""
    found = [table for table in TABLES if not names or table.name in names]
    for table in found:
        table.prepare()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    choices = {"tables": tuple(table.name for table in TABLES)}
    commands = {
        command.__name__.lower(): with_choices(command, choices, {}, {}, {})
        for command in (List, Make, Check)
    }
    return carry_out(commands, None, __doc__, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
