"""A program that schedules a cluster, and how well it does beside what was trained in-process.

Its settings are those of `ppo_backfill` in `experiments/job_scheduling.py`, whose published policy
files, and rules, play the same held-out episodes as the policy files that the trainer saved. A row
of programs.csv has what a training took; table.md is the comparison.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from marlserve.envs.job_scheduling import Config, Problem
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.evaluate import held_out_seeds, play_all
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports import table
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.studies import published
from marlserve.experiments.studies.job_scheduling import settings
from marlserve.experiments.studies.job_scheduling.study import STUDY
from marlserve.experiments.studies.schedule import in_steps
from marlserve.experiments.testbed.external import processes
from marlserve.policies.export import spaces
from marlserve.policies.export.numpy_policy import NumpyPolicy

PRESET, CANDIDATE = "lublin", "ppo_backfill"
NAME = f"{CANDIDATE}_by_client"
_FIELDS = STUDY.candidates[CANDIDATE].fields
_COPIES = settings.ENV_RUNNERS["num_envs_per_env_runner"]
_STEPS = settings.ENV_RUNNERS["rollout_fragment_length"]  # of each of them, in a batch
_METRICS = ("mean_bounded_slowdown", "mean_wait_s", "utilisation")


@dataclass(frozen=True)
class Jobs:
    """Learn to schedule jobs, and compare; what is there already is kept."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    most_steps: int = 300_000  # decisions of each program
    minutes: float = 120.0  # at most, for each
    episodes: int = 100  # that are played
    rules: tuple[str, ...] = ("area_backfill", "f1_backfill")  # beside it
    out: Path = RUNS / "external/jobs"

    def run(self, study: Any) -> None:
        held_out_seeds(self.episodes)  # a bad number is an error before the work
        test = replace(STUDY.presets[PRESET], split="test")
        others = STUDY.contestants(test, [*published_files(), *self.rules])
        file = self.out / "programs.csv"
        rows = processes.read(file)
        for seed in self.seeds:
            if all(row["seed"] != seed for row in rows):
                processes.add(file, rows, self._row(seed))
        own = [contestant(self._folder(row["seed"]), row["seed"], test) for row in rows]
        played = play_all([*own, *others], STUDY.problem, self.episodes, STUDY.copies(test))
        found = table.table(played, _METRICS, reference=CANDIDATE)
        text = f"{table.markdown(found, _METRICS)}\n{taken(rows)}\n"
        write(self.out / "table.md", text)
        print(text)

    def _folder(self, seed: int) -> Path:
        return (self.out / f"seed_{seed}").resolve()

    def _row(self, seed: int) -> dict[str, Any]:
        flags = ["--seed", str(seed), "--most-steps", str(self.most_steps)]
        flags += ["--minutes", str(self.minutes), "--num-envs", str(_COPIES)]
        for name, value in _FIELDS.items():
            flags += [f"--{name.replace('_', '-')}", str(value)]
        said = told(seed, self.most_steps)
        learned = processes.learn(self._folder(seed), said, "scheduler", flags)
        return {"seed": seed, **asdict(learned)}


def told(seed: int, steps: int) -> dict[str, Any]:
    """What the program's file says of learning for so many decisions: as in-process."""
    problem = Problem(replace(STUDY.presets[PRESET], **_FIELDS))
    training = in_steps(settings.TRAINING[CANDIDATE], steps)
    batch_size = _COPIES * _STEPS
    return {
        "client_id": "scheduler",
        "algorithm_name": STUDY.candidates[CANDIDATE].algorithm,
        "algorithm_parameters": {
            "seed": seed,
            "train_batch_size_per_learner": batch_size,
            **training,
        },
        "observation_space": spaces.to_json(problem.observation_space),
        "action_space": spaces.to_json(problem.action_space),
        "action_masks": True,
        "max_traj_length": _STEPS,
        "buffer_steps": batch_size,
    }


def contestant(folder: Path, seed: int, problem: Config) -> Contestant:
    """The policy that the trainer of a seed saved as it ended."""
    file = processes.newest_policy(folder)
    return Contestant(NAME, lambda _: NumpyPolicy(file), replace(problem, **_FIELDS), seed)


def published_files() -> list[Path]:
    """The policy files of the same, trained in-process."""
    folder = published.RESULTS / STUDY.problem / PRESET / published.POLICIES / CANDIDATE
    return sorted(folder.iterdir())


def taken(rows: Sequence[dict[str, Any]]) -> str:
    """What the trainings took. The return of an episode is 1 less its mean bounded slowdown."""
    cells = [
        [
            str(row["seed"]),
            f"{row['steps']:,}",
            f"{1.0 - row['latest_100']:.1f}",
            f"{row['lost_steps']:,}",
            f"{row['wall_s']:,}",
            f"{row['cpu_s']:,}",
        ]
        for row in rows
    ]
    header = ["seed", "decisions", "latest 100 episodes", "lost", "s", "CPU s"]
    return markdown_lines(header, cells, ["---:"] * len(header))
