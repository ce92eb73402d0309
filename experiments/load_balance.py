"""Do load balancers that learn to coordinate beat the best heuristics?

    python experiments/load_balance.py demo
    python experiments/load_balance.py train --preset degraded --algorithm vdn --seed 1
    python experiments/load_balance.py train --agent-type qmix --num-servers 16 --num-agents 4 \\
        --trace-type wiki --episodes 1000 --save-path checkpoints/qmix_best
    python experiments/load_balance.py evaluate --model checkpoints/qmix_best --policy sed wcmp
    python experiments/load_balance.py evaluate --policy sed runs/load_balance/moderate/qmix/seed_0
    python experiments/load_balance.py compare --presets moderate large quad degraded --jobs 2
    python experiments/load_balance.py ablate --preset degraded --algorithm qmix --jobs 2
    python experiments/load_balance.py plot --presets moderate

Every field of the problem is a flag, with the preset's value for a default. What is trained under
changed fields or settings has a folder of its own, named after the changes. Everything is in
runs/load_balance/<preset>/: one folder per run, results.csv, table.md and plots/.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from marlserve.envs.load_balance import BASELINES, MODERATE, PRESETS, Config
from marlserve.experiments import (
    compare,
    evaluate,
    export,
    load_balance_model,
    load_balance_names,
    plot,
)
from marlserve.experiments.base import RUNS, train
from marlserve.experiments.command_line import carry_out, read_settings
from marlserve.experiments.load_balance_ablation import Ablate
from marlserve.experiments.load_balance_evidence import at_load
from marlserve.experiments.load_balance_model import figures
from marlserve.experiments.load_balance_names import Names
from marlserve.experiments.load_balance_settings import (
    ALGORITHMS,
    METRICS,
    PERCENTILES,
    PROBLEM,
    study,
)
from marlserve.experiments.load_balance_tables import write_evidence

COMPARED = tuple(PRESETS)

PresetName = Literal[tuple(PRESETS)]
AlgorithmName = Literal[tuple(ALGORITHMS)]
AgentType = Annotated[AlgorithmName, tyro.conf.arg(aliases=["--agent-type"])]
ProblemFlags = Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Train:
    """Train one policy, or go on where it was stopped: with Ctrl-C, it leaves a checkpoint."""

    preset: PresetName = "moderate"  # what to train on; the other flags change it
    algorithm: AgentType = "qmix"  # what to train
    names: Annotated[Names, tyro.conf.arg(name="")] = field(default_factory=Names)
    seed: int = 0  # of networks, exploration and traffic
    env_steps: int | None = None  # for how long, over all copies; None: 300,000
    settings: tuple[str, ...] = ()  # of the algorithm: name=value, as lr=1e-3 use_gru=false
    num_env_runners: int = 0  # further processes that sample; 0 is fastest on few cores
    checkpoint_every_s: float = 60.0  # between two checkpoints
    overwrite: bool = False  # begin anew, even if there is a finished run
    save_path: Path | None = None  # where the policy is saved as well when training is finished
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = MODERATE

    def run(self, preset: str) -> None:
        self._check_balancers(preset)
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
            export.check(self.save_path, self.out / given.folder)
        folder = train(
            given,
            self.out,
            overwrite=self.overwrite,
            checkpoint_every_s=self.checkpoint_every_s,
        )
        if self.save_path is not None:
            export.save(folder, self.save_path)
            print(f"saved to {self.save_path}")

    def _check_balancers(self, preset: str) -> None:
        """Some algorithms play one balancer, whatever the preset has."""
        own = ALGORITHMS[self.algorithm][2].get("num_balancers")
        asked = self.problem.num_balancers
        is_asked = self.names.num_agents is not None or asked != PRESETS[preset].num_balancers
        if own is not None and is_asked and asked != own:
            raise ValueError(
                f"num_balancers is {asked}; {self.algorithm} plays {own}: leave it out"
            )


@dataclass(frozen=True)
class Evaluate:
    """Play held-out episodes with some policies, add them to results.csv and print a table.

    Learned policies keep their own way of acting (weight levels, step); the other flags say what
    they meet. With a model, that is what it was trained on, unless they change it.
    """

    model: Path | None = None  # the folder of a run, or what --save-path saved
    policy: tuple[str, ...] = ()  # names of heuristics, folders of runs, or checkpoints
    preset: PresetName = "moderate"  # what to play; the other flags change it
    episodes: int = 100  # to play with each policy
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = MODERATE

    def run(self, preset: str) -> None:
        names = [*([] if self.model is None else [self.model]), *self.policy]
        if not names:
            raise ValueError("there is nothing to play: give --model or --policy")
        evaluate.held_out_seeds(self.episodes)
        contestants = study().contestants(names)
        folder, rows = study().play(self.out, self.preset, self.problem, contestants, self.episodes)
        study().show(rows, self.problem, f"{PROBLEM}, {folder.name}")
        print(f"all results: {folder / 'results.csv'}")
        if self.model is not None:
            (name, seed), model = next(iter(contestants.items()))
            own = rows[(rows["policy"] == name) & (rows["training_seed"] == seed)]
            print(f"\n{self.model}: {name}, seed {seed}")
            print(figures(own, model.configure(self.problem).num_steps))


@dataclass(frozen=True)
class Compare:
    """Train what does not exist yet, play all policies and heuristics on the same held-out
    episodes at fixed loads, write results.csv and table.md of each load and, of all presets,
    evidence.md; draw the plots.

    Training is on the preset as it is, with its range of loads; the problem's flags change what is
    played afterwards, as --load 0.5 0.6: this range; --trace bursts: traffic in bursts;
    --trace flows --trace-path FILE: recorded flows. s_sac plays the same traffic with one balancer,
    which sees all flows: compare it with the oracle global_sed.
    """

    presets: tuple[PresetName, ...] = COMPARED  # what to train on and play
    loads: tuple[float, ...] | None = None  # to play; None: the ends of --load; empty: all of it
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train
    seeds: tuple[int, ...] = (0, 1, 2)  # of the trainings
    episodes: int = 100  # to play with each policy
    env_steps: int | None = None  # of every training; None: 300,000
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = MODERATE

    def run(self, preset: str) -> None:
        experiments = [
            study(self.env_steps).experiment(preset, algorithm, seed)
            for algorithm in self.algorithms
            for seed in self.seeds
        ]
        evaluate.held_out_seeds(self.episodes)  # a bad number is an error before the training
        problems = self._played(preset)
        folders = compare.train_all(experiments, self.out, self.jobs)
        contestants = study().contestants([*folders, *BASELINES])
        for problem in problems:
            folder = study().report(self.out, preset, problem, contestants, self.episodes)
            _draw(folder)
        Plot(out=self.out).run(preset)

    def _played(self, preset: str) -> list[Config]:
        """What is played: at each of the loads, or over a range of them."""
        changed = self.problem.load != PRESETS[preset].load
        if changed and self.loads:
            raise ValueError(f"loads is {self.loads}, load is {self.problem.load}: give one")
        loads = self.problem.load if self.loads is None and not changed else self.loads
        return [at_load(self.problem, x) for x in dict.fromkeys(loads or ())] or [self.problem]


@dataclass(frozen=True)
class Plot:
    """Draw learning curves and latency percentiles from the files of runs and results, and write
    evidence.md again, if there are results at the ends of a preset's load."""

    presets: tuple[str, ...] = COMPARED  # folders below runs/load_balance
    out: Path = RUNS  # where all runs are

    def run(self, preset: str) -> None:
        folder = self.out / PROBLEM / preset
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: train or compare first")
        _draw(folder)
        if written := write_evidence(self.out):
            print(f"evidence: {written}")


def _draw(folder: Path) -> None:
    """What the files of a folder allow."""
    if plot.knows(folder, METRICS[0]):
        print(f"learning curves: {plot.learning_curves(folder, METRICS[0])}")
    if (folder / "results.csv").exists():
        print(f"latencies: {plot.bars(folder, PERCENTILES, 'latency_percentiles')}")


@dataclass(frozen=True)
class Demo:
    """Train QMIX on the moderate preset for some minutes, and compare it with the heuristics."""

    episodes: int = 32  # to play with each policy
    out: Path = RUNS / "demo"  # apart from results over more episodes

    def run(self, preset: str) -> None:
        Compare(
            loads=(),
            algorithms=("qmix",),
            seeds=(0,),
            episodes=self.episodes,
            out=self.out,
            problem=replace(PRESETS[preset], split="test"),
        ).run(preset)


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    presets = {"compare": COMPARED, "plot": COMPARED}
    standard = dict.fromkeys(("demo", "train", "evaluate"), ("moderate",))
    standard["ablate"] = ("degraded",)
    commands = partial(_commands, argv=arguments)
    return carry_out(commands, presets | standard, __doc__, arguments)


def _commands(preset: str, argv: Sequence[str]) -> dict[str, Any]:
    """The commands with the defaults of a preset, and of what `argv` names otherwise."""
    problem, command = PRESETS.get(preset, MODERATE), next(iter(argv), "")
    trained_on = load_balance_names.problem_of(argv, problem) if command == "train" else problem
    model = load_balance_model.problem_of(argv) if command == "evaluate" else None
    tested_preset, tested_on = model or (preset, problem)
    return {
        "demo": Demo(),
        "train": Train(problem=trained_on),
        "evaluate": Evaluate(preset=tested_preset, problem=replace(tested_on, split="test")),
        "compare": Compare(problem=replace(problem, split="test")),
        "plot": Plot(),
        "ablate": Ablate(),
    }


if __name__ == "__main__":
    sys.exit(main())
