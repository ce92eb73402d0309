"""Prompts of real text, as a command."""

from dataclasses import dataclass
from pathlib import Path

from marlserve.envs.kv_compression.config import PROMPTS_FILE
from marlserve.experiments.studies.study import Study
from marlserve.traces import longbench, python_texts


@dataclass(frozen=True)
class MakePrompts:
    """Write prompts made of the texts that come with this Python, in LongBench's format; see
    `marlserve.traces.python_texts`. The presets named smollm2 read them."""

    seed: int = 0  # of what is asked about which text
    to: Path = Path(PROMPTS_FILE)  # the file

    def run(self, study: Study) -> None:
        if self.to.exists():
            raise ValueError(f"{self.to} is there already; give another file with --to")
        python_texts.write(self.to, python_texts.samples(self.seed))
        print(f"prompts: {self.to}, {len(longbench.load(self.to))} samples")
