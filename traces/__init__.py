"""What the outside world did. The name of a trace is the name of its module.

A module `traces/x.py` is the trace "x". Its `load(rng, **options)` gives a `Trace` that starts at
time 0: drawn from `rng` if it is synthetic, read from a file if it is a recording.
"""

if __name__ != "marlserve.traces":
    raise ImportError(
        f"traces/ is the source folder of marlserve.traces; import that, not {__name__}"
    )

from importlib import import_module
from pkgutil import iter_modules

import numpy as np

from marlserve.traces.base import Trace

__all__ = ["Trace", "load", "names"]

_NOT_TRACES = {"base"}


def names() -> list[str]:
    """All traces."""
    return sorted({module.name for module in iter_modules(__path__)} - _NOT_TRACES)


def load(name: str, rng: np.random.Generator | None = None, **options) -> Trace:
    """Trace `name`; `options` are those of its module's `load`. Recordings need no `rng`.

    Raises:
        ValueError: if there is no such trace, for a bad value, and for a bad row of a file.
        TypeError: for an option that the trace does not have, or one that it lacks.
    """
    if name not in names():
        raise ValueError(f"there is no trace {name!r}; there are {names()}")
    return import_module(f"marlserve.traces.{name}").load(rng, **options)
