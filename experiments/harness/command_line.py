"""The command line of an experiment: subcommands, read once, with short errors.

A command is a dataclass: its docstring and the comments beside its fields are the help, its fields
are the flags, and `run(study)` does it.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from inspect import getdoc
from typing import Any

import tyro

from marlserve.policies import session


def carry_out(
    commands: Mapping[str, type], study: Any, description: str, argv: Sequence[str]
) -> int:
    """Run a command line, and give the exit status: 2 for a user's error, 130 after Ctrl-C.

    An error is one line on stderr; `python -X dev` shows where it came from.

    Args:
        commands: by name; each can be made without arguments.
        study: what they are given.
        description: of all commands.
        argv: without the program's name.
    """
    try:
        _parsed(commands, description, argv).run(study)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, session.Unavailable) as error:
        if sys.flags.dev_mode:
            raise
        text, *_ = re.split("\n\n|\nTo suppress", str(error))  # RLlib's advice comes after
        print(f"error: {text}", file=sys.stderr)
        return 2
    return 0


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """{"lr": 0.001, "mixer": "vdn"} of ["lr=1e-3", "mixer=vdn"]: JSON, or else a string.

    Raises:
        ValueError: for a text without "=".
    """
    settings = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"settings has {text!r}; expected name=value")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def _parsed(commands: Mapping[str, type], description: str, argv: Sequence[str]) -> Any:
    defaults = {name: command() for name, command in commands.items()}
    descriptions = {name: getdoc(command) or "" for name, command in commands.items()}
    return tyro.cli(
        tyro.extras.subcommand_type_from_defaults(defaults, descriptions),
        args=argv,
        description=description,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
