"""The command line of an experiment: subcommands, presets that set the defaults, short errors.

A command is a dataclass: its docstring and the comments beside its fields are the help, its fields
are the flags, and `run(preset)` does it, once for each preset that `--preset` names, or `--config`.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from inspect import getdoc
from typing import Any

import tyro

PRESET_FLAGS = ("--preset", "--presets", "--config")


def carry_out(
    commands: Callable[[str], dict[str, Any]],
    presets: dict[str, Sequence[str]],
    description: str,
    argv: Sequence[str],
    *,
    flag_pairs: bool = False,
) -> int:
    """Run a command line, and give the exit status: 2 for a user's error, 130 after Ctrl-C.

    An error is one line on stderr; `python -X dev` shows where it came from.

    Args:
        commands: the commands by name, with the defaults of a preset.
        presets: those of a command that is given none.
        description: of all commands.
        argv: without the program's name.
        flag_pairs: a switch has both --x and --no-x, not only the one that changes it.
    """
    try:
        for preset in _presets(argv) or presets.get(argv[0] if argv else "", [""]):
            _parse(commands(preset), description, argv, flag_pairs).run(preset)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
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


def flags(values: Mapping[str, Any]) -> list[str]:
    """The words of a command line that set these fields: ["--num-servers", "100"]."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            several = value if isinstance(value, list | tuple) else [value]
            words += [f"--{flag}", *map(str, several)]
    return words


def _presets(argv: Sequence[str]) -> list[str]:
    """What is known before the rest can be read: the defaults depend on it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(*PRESET_FLAGS, nargs="*", dest="presets")
    return parser.parse_known_args(argv)[0].presets or []


def _parse(
    commands: dict[str, Any], description: str, argv: Sequence[str], flag_pairs: bool
) -> Any:
    descriptions = {name: getdoc(command) for name, command in commands.items()}
    return tyro.cli(
        tyro.extras.subcommand_type_from_defaults(commands, descriptions),
        args=argv,
        description=description,
        config=(
            tyro.conf.OmitArgPrefixes,
            *(() if flag_pairs else (tyro.conf.FlagCreatePairsOff,)),
        ),
    )
