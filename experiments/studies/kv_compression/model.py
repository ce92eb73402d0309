"""Training the small language model, as a command."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from marlserve.envs.sims.kv_compression import small_llama
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.study import Study


@dataclass(frozen=True)
class MakeModel:
    """Train the small language model on synthetic prompts, which takes minutes, and save it.

    Use it with --model-name FOLDER. The one that is shipped was made with the defaults.
    """

    seed: int = 0  # of its weights and prompts
    steps: int = 1000  # of some 6,000 tokens each
    to: Path = RUNS / "kv_compression" / "small_llama"  # the folder

    def run(self, study: Study) -> None:
        if (self.to / "model.safetensors").exists():
            raise ValueError(f"{self.to} holds a model already; give another folder with --to")
        columns = (
            TextColumn("prompts of {task.fields[length]} tokens"),
            BarColumn(),
            TextColumn(
                "step {task.completed} of {task.total}, accuracy {task.fields[accuracy]:.3f}"
            ),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so that it repeats
        try:
            with Progress(*columns) as bar:
                task = bar.add_task("", total=self.steps, length=0, accuracy=0.0)
                model = small_llama.train(
                    self.seed,
                    self.steps,
                    report=lambda step, length, accuracy: bar.update(
                        task, completed=step, length=length, accuracy=accuracy
                    ),
                )
        finally:
            torch.set_num_threads(threads)
        model.save_pretrained(self.to)
        print(f"model: {self.to}")
