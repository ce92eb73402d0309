"""Which replica each request of an episode was sent to, for other engines to replay."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve.envs.replica_routing import Problem
from marlserve.experiments.harness.evaluate import held_out_seeds, play
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.run import write
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study
from marlserve.traces import llm_requests


@dataclass(frozen=True)
class Assign:
    """Play a held-out episode, and write its requests and where they were sent.

    requests.jsonl has the requests in Mooncake's form, those of the warm-up too, and
    assignments.csv the columns request (row of it, from 0 on) and worker. episode.json says what
    one must know to replay them: block_tokens, the prompt tokens that an id stands for, and the
    speeds of the workers; where replicas change, it is another episode without these changes.
    """

    policy: str = "marginal_cost"  # a heuristic by name, or the folder of a run
    preset: str = ""  # what to play
    episode: int = 0  # which of the held-out ones
    to: Path = Path("assignments")  # a folder
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        seed = held_out_seeds(self.episode + 1)[-1]
        config = asked(replace(study.presets[self.preset], split="test"), self)
        found = study.contestant(config, self.policy)
        problem = Problem(found.config)
        played = play(problem, found.policy(problem), [seed])
        requests, workers = problem.requests[0], problem.gateways.replicas.requests[0]["replica"]
        self.to.mkdir(parents=True, exist_ok=True)
        llm_requests.save(requests, self.to / "requests.jsonl")
        rows = pd.DataFrame({"request": np.arange(len(requests)), "worker": workers})
        write(self.to / "assignments.csv", rows.to_csv(index=False))
        about = {
            "policy": found.name,
            "block_tokens": requests.block_tokens,
            "speeds": problem.speeds[0].tolist(),
            "metrics": {name: float(played[name].iloc[0]) for name in study.metrics},
        }
        write(self.to / "episode.json", json.dumps(about, indent=1))
        shown = ", ".join(f"{name} {played[name].iloc[0]:.4g}" for name in study.metrics)
        print(f"{found.name}, {len(requests)} requests: {shown}\nwritten: {self.to}")
