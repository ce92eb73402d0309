"""Flags of the load balancers' training under the names of MARLLB's scripts.

    train --agent-type qmix --num-servers 16 --num-agents 4 --trace-type wiki --episodes 10000

Each is another name for a field that has a flag already. Both at once are an error, so that
neither wins silently. A problem that is trained on under these names is the same as under the
others, and has the same folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import tyro

from marlserve.envs.load_balance import Config

TRACES = {
    "wiki": "wikipedia",
    "poisson": "poisson",
    "bursts": "bursts",
    "flows": "flows",
    "file": "flows",
}
_MEANS = {
    "agent_type": "algorithm",
    "num_servers": "cores",
    "num_agents": "num_balancers",
    "trace_type": "trace",
    "episodes": "env_steps",
}


@dataclass(frozen=True)
class Names:
    """What is not given is None, and says nothing."""

    num_servers: int | None = None  # with the preset's mix of cores; instead of --cores
    num_agents: int | None = None  # balancers; instead of --num-balancers
    trace_type: Literal[tuple(TRACES)] | None = None  # --trace; flows, file: needs --trace-path
    episodes: int | None = None  # to train for; instead of --env-steps

    def config(self, preset: Config, trace_path: str = "") -> Config:
        """A preset's Config with what is given.

        Args:
            preset: server i of M has the cores of its server i * len(cores) // M.
            trace_path: of the trace "flows".

        Raises:
            ValueError: for a number below 1, and what the Config refuses.
        """
        for name in ("num_servers", "num_agents", "episodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        fields: dict[str, Any] = {}
        if (count := self.num_servers) is not None:
            fields["cores"] = tuple(
                preset.cores[i * preset.num_servers // count] for i in range(count)
            )
        if self.num_agents is not None:
            fields["num_balancers"] = self.num_agents
        if self.trace_type is not None:
            fields["trace"] = TRACES[self.trace_type]
            if fields["trace"] == "flows":
                fields["trace_path"] = trace_path
        return replace(preset, **fields)

    def env_steps(self, problem: Config) -> int | None:
        """Of the whole training, if its episodes are given."""
        return None if self.episodes is None else self.episodes * problem.num_steps


@dataclass(frozen=True)
class _Known(Names):
    trace_path: str = ""


def problem_of(argv: Sequence[str], preset: Config) -> Config:
    """The defaults of the problem's flags: those of a preset, changed by the names in `argv`.

    Raises:
        ValueError: for two names of one field, and a bad value.
    """
    given = {word[2:].partition("=")[0].replace("-", "_") for word in argv if word[:2] == "--"}
    for name, field in _MEANS.items():
        if {name, field} <= given:
            both = " and ".join(f"--{x.replace('_', '-')}" for x in (name, field))
            raise ValueError(f"{both} are two names of one field: give one of them")
    names, _ = tyro.cli(_Known, args=argv, return_unknown_args=True, add_help=False)
    return names.config(preset, names.trace_path)
