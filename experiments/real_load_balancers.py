"""Does what was learned in simulation hold on real load balancers?

    python experiments/load_balance.py train --preset degraded --algorithms ppo --seeds 0 \\
        --dispatch least_connections --out runs/haproxy
    python experiments/load_balance.py export \\
        --model runs/haproxy/load_balance/degraded,dispatch=least_connections/ppo/seed_0
    python experiments/real_load_balancers.py compare --presets degraded
    python experiments/real_load_balancers.py report

Two HAProxys on loopback before seven servers that share their cores in virtual time, with the
simulator's traffic, slower by a factor if the machine has other things to do. Under a policy each
balancer has a controller, `marlserve.serving.controller`. docs/data_plane.md has the results.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marlserve.envs.load_balance import PRESETS
from marlserve.experiments.harness.command_line import carry_out
from marlserve.experiments.harness.evaluate import held_out_seeds
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.run import write
from marlserve.experiments.testbed import comparison
from marlserve.experiments.testbed.contenders import Contender, contenders
from marlserve.experiments.testbed.episode import play

OUT = RUNS / "real_load_balancers"


@dataclass(frozen=True)
class Compare:
    """Measure, policy by policy on the same episodes; what was measured already is kept."""

    presets: tuple[str, ...] = ("moderate", "degraded")
    policies: tuple[str, ...] = ("leastconn", "ppo", "adaptive_sed", "random(2)", "roundrobin")
    episodes: int = 5
    warm_up_s: float = 10.0  # of each
    episode_s: float = 30.0
    slow_motion: float = 4.0  # real seconds for each of these; 1: as the problem is
    most_way_s: float = 0.02  # of 99 % of flows, beside the servers; else the machine stood still
    attempts: int = 5  # at each episode, until it does not
    learned: Path = (
        RUNS / "haproxy/load_balance/{preset},dispatch=least_connections/ppo/seed_0/policy"
    )  # policy files
    out: Path = OUT

    def run(self, study: Any) -> None:
        for preset in self.presets:
            if preset not in PRESETS:
                raise ValueError(f"presets has {preset!r}; allowed are {list(PRESETS)}")
            config = replace(
                PRESETS[preset],
                split="test",
                warm_up_s=self.warm_up_s,
                episode_s=self.episode_s,
            )
            learned = Path(str(self.learned).format(preset=preset))
            known = contenders(config, learned, self.slow_motion)
            if unknown := set(self.policies) - set(known):
                raise ValueError(f"policies has {sorted(unknown)}; allowed are {list(known)}")
            for seed in held_out_seeds(self.episodes):
                for name in self.policies:
                    key = {"preset": preset, "policy": name, "episode_seed": seed}
                    if self._is_there(key):
                        continue
                    contender = known[name]
                    row = self._measured(contender, seed)
                    comparison.add(self.out / "results.csv", key | row | contender.predict(seed))
                    mean_ms = 1e3 * row[comparison.LATENCY]
                    print(f"{preset} {name} {seed}: mean {mean_ms:.1f} ms", flush=True)
        Report(self.out).run(study)

    def _measured(self, contender: Contender, seed: int) -> dict[str, float]:
        """One episode; again, if the machine stood still in it."""
        for attempt in range(1, self.attempts + 1):
            row = play(contender.config, seed, contender.arrangement)
            if row["way_p99_s"] <= self.most_way_s:
                return row | {"attempts": attempt}
        raise ValueError(
            f"1 % of flows wait for more than {1e3 * row['way_p99_s']:.0f} ms on their way, "
            f"{self.attempts} times: this machine has too much else to do"
        )

    def _is_there(self, key: dict[str, Any]) -> bool:
        rows = comparison.read(self.out / "results.csv")
        return any((rows[list(key)] == list(key.values())).all(axis=1))


@dataclass(frozen=True)
class Report:
    """Make the table of what was measured."""

    out: Path = OUT

    def run(self, study: Any) -> None:
        text = comparison.table(comparison.read(self.out / "results.csv"))
        write(self.out / "table.md", text)
        print(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    commands: dict[str, type] = {"compare": Compare, "report": Report}
    return carry_out(commands, None, __doc__, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
