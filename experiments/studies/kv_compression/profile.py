"""What answers cost under each size of the cache, measured: a profile for the kv_cache problem."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from torch import Tensor

from marlserve.envs.kv_compression import Config, rewards
from marlserve.envs.kv_compression.live import prompts_of
from marlserve.envs.kv_compression.prompts import Prompt
from marlserve.envs.sims.kv_compression import language_model
from marlserve.envs.sims.kv_compression.compression import answer, compressed, prefill
from marlserve.envs.sims.kv_compression.methods import SnapKV
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study
from marlserve.traces.kv_profile import CONFIGS

FULL = "fullkv"


@dataclass(frozen=True)
class MakeProfile:
    """Answer prompts one at a time with SnapKV's caches of 64 to 1,024 entries and with the full
    one, and write seconds, joules and quality in the format of `marlserve.traces.kv_profile`.

    Seconds run from the prompt to the last token of the answer. Joules are those times the watts
    given: the mean draw of the device while it answers, or what its maker says.
    """

    watts: float = 0.0  # drawn by the device while it answers; it must be given
    quality: str = "agreement"  # with the full cache's answer; or "score", of the task
    preset: str = ""  # whose prompts; the flags of the problem change them
    to: Path = RUNS / "kv_compression" / "profile"  # the folder
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        if not 1.0 <= self.watts <= 5000.0:
            raise ValueError(f"watts is {self.watts}; allowed is 1 to 5000")
        if self.quality not in (allowed := ("agreement", "score")):
            raise ValueError(f"quality is {self.quality!r}; allowed is one of {allowed}")
        if self.to.exists() and any(self.to.iterdir()):
            raise ValueError(f"{self.to} is there already; give another folder with --to")
        problem = replace(asked(study.presets[self.preset], self), table_path="")
        study.check(self.preset, problem, "make-profile")
        rows = {config: np.array(of) for config, of in measured(problem, self.quality).items()}
        self.to.mkdir(parents=True, exist_ok=True)
        for config, (service_s, score) in rows.items():
            columns = np.stack([service_s, service_s * self.watts, score], 1)
            np.savetxt(
                self.to / f"{config}.csv",
                columns,
                "%.6f",
                ",",
                header="times,energies,scores",
                comments="",
            )
        print(f"profile: {self.to}")


def measured(problem: Config, quality: str) -> dict[str, tuple[list[float], list[float]]]:
    """{configuration: (seconds, quality)} of all prompts of the split."""
    prompts = prompts_of(problem)
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in CONFIGS}
    end = prompts.end_token
    list(_answers(prompts[0], problem, end))  # nobody waits for what is done once
    for index in track(range(problem.num_prompts), "answering"):
        prompt = prompts[index]
        answers = dict(_answers(prompt, problem, end))
        said = answers[FULL][1]
        length = rewards.answer_length(said, end)
        for name, (service_s, replies) in answers.items():
            agreement = rewards.agreement(replies[None, :length], said[:length])[0]
            found[name][0].append(service_s)
            found[name][1].append(agreement if quality == "agreement" else prompt.score(replies))
    return found


def _answers(
    prompt: Prompt, problem: Config, end: int | None
) -> Iterator[tuple[str, tuple[float, Tensor]]]:
    """(configuration, (seconds, replies [m])), each from a new reading of the prompt."""
    model, method = language_model.load(problem.model_name, problem.device).model, SnapKV(16)
    weights = method.query_weights(len(prompt.tokens))[None]
    for name in CONFIGS:
        start_s = time.perf_counter()
        cache = (read := prefill(model, prompt.tokens, weights)).cache
        if name != FULL:
            budget = int(name.removeprefix("snapkv_"))
            cache = compressed(read, [method], [0], budget, min(problem.recent, budget))
        replies = answer(model, cache, prompt.turns, end)[0].cpu()
        yield name, (time.perf_counter() - start_s, replies)
