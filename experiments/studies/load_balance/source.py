"""Flags of the load balancers' training under the names of MARLLB's scripts.

    train --agent-type qmix --num-servers 16 --num-agents 4 --trace-type wiki --episodes 10000

Each is another name for a field that has a flag already. Both at once are an error, so that
neither wins silently. A problem that is trained on under these names is the same as under the
others, and has the same folder.
"""

from dataclasses import dataclass
from typing import Any, Literal

from marlserve.experiments.studies.options import SourceFlags

TRACES = {
    "wiki": "wikipedia",
    "poisson": "poisson",
    "bursts": "bursts",
    "flows": "flows",
    "file": "flows",
}


@dataclass(frozen=True)
class MARLLB(SourceFlags):
    """What is not given is None, and says nothing."""

    num_servers: int | None = None  # MARLLB's --cores, with the preset's mix of them
    num_agents: int | None = None  # MARLLB's --num-balancers
    trace_type: Literal["wiki", "poisson", "bursts", "flows", "file"] | None = None  # its --trace
    episodes: int | None = None  # MARLLB's --env-steps: episodes to train for

    def fields(self, standard: Any) -> dict[str, Any]:
        """Of the Config: server i of M has the cores of the standard's server i * len(cores) // M.

        Raises:
            ValueError: for a number below 1.
        """
        for name in ("num_servers", "num_agents", "episodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        found: dict[str, Any] = {}
        if (count := self.num_servers) is not None:
            servers = [i * standard.num_servers // count for i in range(count)]
            found["cores"] = tuple(standard.cores[i] for i in servers)
        if self.num_agents is not None:
            found["num_balancers"] = self.num_agents
        if self.trace_type is not None:
            found["trace"] = TRACES[self.trace_type]
        return found

    def arguments(self, problem: Any) -> dict[str, Any]:
        """The env-steps of so many episodes."""
        return {} if self.episodes is None else {"env_steps": self.episodes * problem.num_steps}
