"""The commands of a study: the same for all problems, each with the study's own choices.

sys.exit(main(STUDY, __doc__))
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from marlserve import envs
from marlserve.experiments.harness.command_line import carry_out
from marlserve.experiments.harness.flags import changes_of, with_choices
from marlserve.experiments.studies.compare import Compare
from marlserve.experiments.studies.evaluate import Evaluate
from marlserve.experiments.studies.export import Export
from marlserve.experiments.studies.options import SourceFlags
from marlserve.experiments.studies.plot import Plot
from marlserve.experiments.studies.record import Record
from marlserve.experiments.studies.study import Study
from marlserve.experiments.studies.sweep import SweepCommand
from marlserve.experiments.studies.train import Train
from marlserve.experiments.studies.watch import Watch

COMMANDS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "compare": Compare,
    "plot": Plot,
    "sweep": SweepCommand,
    "export": Export,
    "record": Record,
    "watch": Watch,
}


def main(
    study: Study,
    description: str,
    argv: Sequence[str] | None = None,
    further: Mapping[str, type] | None = None,
) -> int:
    """Carry out a command line; the exit status.

    Args:
        study: whose commands they are.
        description: of all commands, for `--help`.
        argv: without the program's name; that of this process by default.
        further: commands that this study alone has.
    """
    known = {name: command for name, command in COMMANDS.items() if name not in study.lacks}
    known |= further or {}
    commands = {name: of(study, name, command) for name, command in known.items()}
    return carry_out(commands, study, description, sys.argv[1:] if argv is None else argv)


def of(study: Study, name: str, command: type) -> type:
    """One of the commands, with the choices and defaults of a study."""
    presets, candidates = tuple(study.presets), tuple(study.candidates)
    choices = {"preset": presets, "presets": presets}
    choices |= {"algorithm": candidates, "algorithms": candidates}
    choices |= getattr(command, "CHOICES", {})
    usual: dict[str, Any] = {
        "preset": presets[0],
        "presets": study.compared or presets[:1],
        "algorithm": candidates[0],
        "algorithms": (name == "train" and study.trained) or candidates,
        "seeds": study.seeds,
    }
    empty = {x.name for x in fields(command) if x.default in ("", ())}
    defaults = {name: value for name, value in usual.items() if name in empty}
    if name in COMMANDS:
        defaults["episodes"] = study.episodes
    groups = {"problem": _changes(study)}
    source = study.source_flags.get(name, SourceFlags)
    if fields(source):
        groups["source"] = source
    return with_choices(command, choices, study.aliases, groups, defaults)


@cache  # the same in all commands of a study
def _changes(study: Study) -> type:
    return changes_of(envs.module(study.problem).Config, study.choices)
