"""From the flags of a command to the Config that is meant."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from marlserve.experiments.harness.flags import given


@dataclass(frozen=True)
class SourceFlags:
    """Flags of a source system that say in other units what a command has a flag for.

    A subclass has them as fields, with None for what is not given.
    """

    def fields(self, standard: Any) -> dict[str, Any]:
        """Fields of the Config that follow, where `standard` is to be changed."""
        return {}

    def arguments(self, problem: Any) -> dict[str, Any]:
        """Arguments of `Study.experiment` that follow."""
        return {}


NONE = SourceFlags()


class Command(Protocol):
    """What all commands that take a problem have."""

    @property
    def source(self) -> SourceFlags: ...

    @property
    def problem(self) -> Any: ...


def asked(standard: Any, command: Command) -> Any:
    """A Config with what a command's flags change.

    Raises:
        ValueError: for two flags that say the same, and what the Config refuses.
    """
    changed, also = given(command.problem), command.source.fields(standard)
    for name in changed.keys() & also:
        raise ValueError(
            f"{name} is given as {changed[name]!r}, and as {also[name]!r} by another name of it: "
            "give one of them"
        )
    return replace(standard, **changed, **also)


def merged(own: Mapping[str, Any], also: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `Study.experiment`, those of a source system's flags among them.

    Raises:
        ValueError: if both give one of them.
    """
    result = {name: value for name, value in own.items() if value is not None}
    for name, value in also.items():
        if isinstance(value, dict):
            value = result.get(name, {}) | value
        elif name in result:
            raise ValueError(f"{name} is {result[name]!r}, and {value!r} by another name of it")
        result[name] = value
    return result
