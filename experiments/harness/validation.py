"""Which policy of a training was the best: greedy episodes on the way, and `best/`.

Every `evaluate_every` env-steps, and at the end, the policy as it is then plays
`evaluation_episodes` episodes greedily: the same ones each time, of the training's own traffic,
changed by `evaluation_config`, as {"episode_s": 10.0}. Their seeds begin at 2**32, where neither
training (below 2**31) nor the test episodes (2**31 and on) come. The mean return and metrics go to
progress.jsonl, and a checkpoint without replay is kept as `best/` if no return before was as high.

What is played is that checkpoint, read back. So `best/` does what it was chosen for, and the
training is not touched: a run with evaluations takes the same course as one without.

A run that was killed goes on from its last checkpoint; `best/` may be from later steps, and stays.
"""

import math
import shutil

import torch

from marlserve import envs
from marlserve.envs.base import Problem
from marlserve.experiments.harness.evaluate import play
from marlserve.experiments.harness.run import RETURN, Run
from marlserve.policies.checkpoint import CheckpointPolicy

FIRST_VALIDATION_SEED = 2**32


class Validation:
    """The evaluations of one run."""

    def __init__(self, run: Run):
        self._run = run
        self._problem: Problem | None = None
        self._best = run.best_return()

    def is_due(self, before: int, after: int) -> bool:
        """Whether to evaluate after an iteration that began and ended with these env-steps."""
        every, budget = self._run.experiment.evaluate_every, self._run.experiment.env_steps
        return every > 0 and (before // every < after // every or after >= budget)

    def evaluate(self, algorithm, counters: dict[str, float]) -> dict[str, float | None]:
        """Columns of progress.jsonl; replaces best/ if this is better.

        Args:
            algorithm: as it is.
            counters: how far it has come, for best/counters.json.
        """
        experiment = self._run.experiment
        if self._problem is None:
            make = envs.module(experiment.problem).Problem
            config = experiment.problem_config(evaluation=True)
            self._problem = make(config, experiment.evaluation_episodes)
        seeds = [FIRST_VALIDATION_SEED + i for i in range(experiment.evaluation_episodes)]
        candidate = self._run.propose(algorithm)
        with torch.random.fork_rng(devices=[]):  # a module that is made draws its first weights
            episodes = play(self._problem, CheckpointPolicy(candidate), seeds)
        means = episodes.drop(columns=["episode_seed", "window"], errors="ignore").mean()
        row = {
            f"evaluation_{name}": float(value) if math.isfinite(value) else None
            for name, value in means.items()
        }
        reached = row[RETURN]
        if reached is not None and reached > self._best:
            self._best = reached
            self._run.accept(candidate, counters | {RETURN: self._best})
        else:
            shutil.rmtree(candidate)
        return row
