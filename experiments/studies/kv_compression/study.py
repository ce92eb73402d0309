"""What is compared on KV compression."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.envs.kv_compression import BASELINES, PRESETS, REWARDS
from marlserve.envs.kv_compression.baselines import ARMS
from marlserve.envs.kv_compression.config import PROMPTS_FILE, TUNING_PROMPTS
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.studies import runs
from marlserve.experiments.studies.kv_compression.plots import draw
from marlserve.experiments.studies.kv_compression.regret import baselines, write_regrets
from marlserve.experiments.studies.kv_compression.settings import AUTO, PROBLEM, settings
from marlserve.experiments.studies.kv_compression.source import A2SF, Iterations
from marlserve.experiments.studies.kv_compression.tables import named_table, with_table
from marlserve.experiments.studies.study import Candidate, Compared, Settings, Study


class KVCompression(Study):
    """Outcomes are looked up in a table of prompts and arms, which is made if there is none."""

    problem = PROBLEM
    presets = {name: replace(x, table_path=AUTO) for name, x in PRESETS.items()}
    candidates = {
        "neural_linear": Candidate("neural_linear"),
        "neural_ucb": Candidate("neural_ucb"),
        "neural_greedy": Candidate("neural_linear"),
    }
    metrics = ("agreement", "regret", "cosine", "score")
    interface = ("arms", "context")
    references = tuple(name for name, x in BASELINES.items() if not x.oracle)
    gap = (ARMS, "oracle")
    larger_is_better = True
    checkpoint = "final"  # the best one was chosen by rewards that no other bandit was told

    trained = ("neural_linear",)
    episodes = 1000
    choices = {"reward": tuple(REWARDS), "split": ("train", "validation", "test")}
    aliases = {
        "preset": ("--config",),
        "presets": ("--config",),
        "episodes": ("--n-eval-episodes",),
        "out": ("--save-dir",),
    }
    source_flags = {"train": A2SF, "compare": Iterations}

    def settings(
        self, preset: str, candidate: str, problem: Any, seed: int, env_steps: int | None
    ) -> Settings:
        return settings(candidate, problem, env_steps)

    def check(self, preset: str, problem: Any, command: str) -> None:
        path, file = problem.table_path, problem.prompts_path
        if command == "compare" and not path:
            raise ValueError("table_path is ''; regret and baselines that learn need a table")
        if file == PROMPTS_FILE and not Path(file).exists():
            raise ValueError(
                f"prompts_path is {file!r}; there is no such file: make-prompts writes it"
            )
        super().check(preset, replace(problem, table_path="" if path == AUTO else path), command)

    def check_run(self, folder: Path, problem: Any) -> None:
        """A policy that was told the type, or not, plays such prompts only."""
        if not (folder / "experiment.json").exists():
            return
        tagged = runs.experiment_of(folder).env_config.get("tagged", problem.tagged)
        if tagged != problem.tagged:
            raise ValueError(
                f"{folder} was trained with tagged={tagged}, and tagged is {problem.tagged}: play "
                f"it with --preset {'tagged' if tagged else 'untagged'}"
            )

    def tuned_on(self, problem: Any) -> Any:
        """Other prompts than are compared on; of a file's, those that are not for the test."""
        return problem if problem.prompts_path else replace(problem, prompt_seed=TUNING_PROMPTS)

    def prepared(self, problem: Any, out: Path, splits: Sequence[str]) -> Any:
        return with_table(problem, out, splits)

    def baselines(self, problem: Any, seeds: Sequence[int]) -> list[Contestant]:
        return baselines(problem, seeds)

    def concluded(self, compared: Compared) -> None:
        """Write the regrets."""
        trained, seeds = compared.trained, compared.seeds
        write_regrets(compared.folder, trained, compared.problem, seeds)

    def draw(self, out: Path, folder: Path, problem: Any, policies: Sequence[str]) -> list[Path]:
        return draw(self, folder, named_table(problem, out))

    def ranks_by(self, problem: Any) -> str:
        return "return" if problem.entry_price else str(problem.reward)

    def shown(self, problem: Any) -> tuple[str, ...]:
        """Regret is known from a table only."""
        return self.metrics if problem.table_path else ("agreement", "cosine", "score")

    def copies(self, problem: Any) -> int:
        return 1000 if problem.table_path else 32

    def told(self, problem: Any) -> Any:
        """Wherever its table is."""
        return replace(problem, table_path=AUTO if problem.table_path else "")

    def changed(self, standard: Any, problem: Any) -> dict[str, Any]:
        """Where a table is changes nothing, but whether there is one."""
        path = standard.table_path if problem.table_path else problem.table_path
        return super().changed(standard, replace(problem, table_path=path))


STUDY = KVCompression()
