"""The command `train` of the load balancers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from marlserve.envs.load_balance import MODERATE, PRESETS, Config
from marlserve.experiments.harness import save_path as export
from marlserve.experiments.harness.command_line import read_settings
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.training import train
from marlserve.experiments.studies.load_balance.names import Names
from marlserve.experiments.studies.load_balance.settings import ALGORITHMS, study

AgentType = Annotated[Literal[tuple(ALGORITHMS)], tyro.conf.arg(aliases=["--agent-type"])]


@dataclass(frozen=True)
class Train:
    """Train one policy, or go on where it was stopped: with Ctrl-C, it leaves a checkpoint."""

    preset: Literal[tuple(PRESETS)] = "moderate"  # what to train on; the other flags change it
    algorithm: AgentType = "qmix"  # what to train
    names: Annotated[Names, tyro.conf.arg(name="")] = field(default_factory=Names)
    seed: int = 0  # of networks, exploration and traffic
    env_steps: int | None = None  # for how long, over all copies; None: 200,000
    settings: tuple[str, ...] = ()  # of the algorithm: name=value, as lr=1e-3 use_gru=false
    num_env_runners: int = 0  # further processes that sample; 0 is fastest on few cores
    checkpoint_every_s: float = 60.0  # between two checkpoints
    overwrite: bool = False  # begin anew, even if there is a finished run
    save_path: Path | None = None  # where the policy is saved as well when training is finished
    out: Path = RUNS  # where all runs are
    problem: Annotated[Config, tyro.conf.arg(name="")] = MODERATE

    def run(self, preset: str) -> None:
        self._check_balancers()
        steps = self.names.env_steps(self.problem) or self.env_steps
        given = study(steps).experiment(
            preset,
            self.algorithm,
            self.seed,
            problem=self.problem,
            settings=read_settings(self.settings),
            env_runners={"num_env_runners": self.num_env_runners} if self.num_env_runners else {},
        )
        if self.save_path is not None:
            export.check(self.save_path, self.out / given.folder, given)
        folder = train(
            given,
            self.out,
            overwrite=self.overwrite,
            checkpoint_every_s=self.checkpoint_every_s,
        )
        if self.save_path is not None:
            export.save(folder, self.save_path)
            print(f"saved to {self.save_path}")

    def _check_balancers(self) -> None:
        """Some algorithms play one balancer, whatever the preset has."""
        own = ALGORITHMS[self.algorithm][2].get("num_balancers")
        asked = self.names.num_agents
        if own is not None and asked not in (None, own):
            raise ValueError(
                f"num_agents is {asked}; {self.algorithm} plays {own} balancer: leave it out"
            )
