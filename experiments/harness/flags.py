"""Flags from dataclasses: comments are their help, names with a choice list what is allowed.

A field of a problem's Config is a flag whose default is the word "preset": what is not given is
as in the preset, and what is given takes its place.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields, make_dataclass
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

PRESET = "preset"
_SEVERAL = ("presets", "algorithms", "seeds")  # flags that have a singular, too
_COMMENTED = re.compile(r"^    (\w+):[^#\n]*#\s*(.+)$", re.MULTILINE)


def changes_of(config: type, choices: Mapping[str, Sequence[Any]]) -> type:
    """The fields of a Config as flags that change a preset: see `given`.

    Args:
        config: a dataclass.
        choices: {field: the values that it, or each of its items, may have}.
    """
    hints, notes = get_type_hints(config), comments(config)
    made: list[tuple[str, Any, Any]] = []
    for x in fields(config):
        kind = chosen(hints[x.name], choices.get(x.name))
        about = tyro.conf.arg(help=notes.get(x.name, ""))
        made.append((x.name, Annotated[kind | Literal[PRESET], about], field(default=PRESET)))
    return make_dataclass("Changes", made, frozen=True)


def given(changes: Any) -> dict[str, Any]:
    """{field: value} of what was given on the command line."""
    return {name: value for name, value in vars(changes).items() if value != PRESET}


def with_choices(
    command: type,
    choices: Mapping[str, Sequence[Any]],
    aliases: Mapping[str, Sequence[str]],
    groups: Mapping[str, type],
    defaults: Mapping[str, Any],
) -> type:
    """The same command, a dataclass, with what a study knows.

    Args:
        command: a dataclass; its comments are the flags' help.
        choices: {field: allowed values}.
        aliases: {field: further names of the flag}, those of the source systems.
        groups: {field: a dataclass, whose fields become flags of the command}.
        defaults: {field: its default}; it has one already, if it is not here.
    """
    hints, notes, made = get_type_hints(command), comments(command), []
    for x in fields(command):
        if x.name in groups:
            kind: Any = Annotated[groups[x.name], tyro.conf.arg(name="")]
            made.append((x.name, kind, field(default_factory=groups[x.name])))
            continue
        others = list(aliases.get(x.name, ()))
        named = f"; {', '.join(others)}: the source system's name" if others else ""
        singular = [f"--{x.name[:-1]}"] if x.name in _SEVERAL else []
        also = singular + [name for name in others if name not in singular]
        about = tyro.conf.arg(help=f"{notes.get(x.name, '')}{named}", aliases=also or None)
        default = defaults.get(x.name, x.default)
        if default is MISSING and callable(x.default_factory):
            default = x.default_factory()
        kind = Annotated[chosen(hints[x.name], choices.get(x.name)), about]
        made.append((x.name, kind, field(default=default)))
    about = {"__doc__": command.__doc__}
    return make_dataclass(command.__name__, made, bases=(command,), namespace=about, frozen=True)


def chosen(kind: Any, allowed: Sequence[Any] | None) -> Any:
    """A type in which strings are some of those allowed: `str | None`, `tuple[str, ...]`."""
    if allowed is None:
        return kind
    if kind is str:
        return Literal[tuple(allowed)]
    if get_origin(kind) is tuple:
        return tuple[chosen(get_args(kind)[0], allowed), ...]  # type: ignore[misc]
    if not get_args(kind):
        return kind
    return reduce(or_, (chosen(x, allowed) for x in get_args(kind)))


def comments(cls: type) -> dict[str, str]:
    """{field: the comment beside it} of a dataclass and its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not object and "__dataclass_fields__" in vars(base):
            found |= _own_comments(base)
    return found


@cache  # all commands of a study ask for those of its Config
def _own_comments(cls: type) -> dict[str, str]:
    try:
        return dict(_COMMENTED.findall(inspect.getsource(cls)))
    except (OSError, TypeError):  # made at run time
        return {}


def words(values: Mapping[str, Any]) -> list[str]:
    """The words of a command line that set these fields: ["--num-servers", "100"]."""
    line = []
    for name, value in values.items():
        several = value if isinstance(value, list | tuple) else [value]
        line += [f"--{name.replace('_', '-')}", *map(str, several)]
    return line
