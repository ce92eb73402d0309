"""The names of what a policy sees of a prompt."""

import numpy as np

from marlserve.envs.kv_compression.config import Config
from marlserve.envs.kv_compression.live import Live
from marlserve.envs.kv_compression.observation import group
from marlserve.envs.kv_compression.table import Table


def features(config: Config) -> tuple[str, ...]:
    """The F names of what is seen, in order: of the tag by types, of other groups by places.

    How wide some groups are, the model or the text encoder decides: a prompt is looked up in the
    table, or read where there is none.

    Raises:
        ValueError: as for `Problem`.
    """
    source: Table | Live = Table(config) if config.table_path else Live(config)
    found: list[str] = []
    for name in config.context:
        if isinstance(source, Table):
            (seen,) = source.context(np.zeros(1, np.int64), name)
        else:
            seen = group(source.measured(0), name, config)
        places = source.types if name == "tag" else range(len(seen))
        found += [f"{name}_{place}" for place in places] if len(seen) > 1 else [name]
    return tuple(found)
