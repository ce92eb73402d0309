"""What the outside world did. The name of a trace is the name of its module.

A module `traces/x.py` is the trace "x". Its `load(rng, **options)` gives a `Trace`: drawn from
`rng` if it is synthetic, read from a file if it is a recording. A trace starts at time 0, or, where
the calendar matters, at seconds since the Unix epoch, UTC. "kv_profile" has no time: it gives a
`KVProfile`. The constant `COLUMNS` of a module names what it can give.

What is read here and is no trace has a module too: "longbench", prompts with questions and answers,
and "python_texts", which makes some.
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

_NOT_TRACES = {
    "base",
    "csv_file",
    "job_log",
    "longbench",
    "noise",
    "python_texts",
    "recording",
    "utc",
}


def names(column: str = "") -> list[str]:
    """All traces, or those that can have this column, such as "work_s"."""
    every = sorted({module.name for module in iter_modules(__path__)} - _NOT_TRACES)
    return [name for name in every if not column or column in _module(name).COLUMNS]


def load(name: str, rng: np.random.Generator | None = None, **options) -> Trace:
    """Trace `name`; `options` are those of its module's `load`. Recordings need no `rng`.

    The module "kv_profile" gives its `KVProfile`.

    Raises:
        ValueError: if there is no such trace, for a bad value, and for a bad row of a file.
        TypeError: for an option that the trace does not have, or one that it lacks.
    """
    if name not in names():
        raise ValueError(f"there is no trace {name!r}; there are {names()}")
    return _module(name).load(rng, **options)


def _module(name: str):
    return import_module(f"marlserve.traces.{name}")
