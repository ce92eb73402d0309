"""What is compared on the synthetic bandits: the cumulative regret while learning.

Each seed is an instance of its own, of theta and of A. As in section 7.1 of Zhou, Li, Gu (2020,
arXiv 1911.04462) there are three functions, which are the presets, 10,000 rounds, 4 arms and 20
dimensions; the network is retrained after every 20 rounds.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve.envs.contextual_bandit import (
    BASELINES,
    FUNCTIONS,
    PRESETS,
    REWARDS,
    Config,
    Problem,
    trained,
)
from marlserve.experiments.harness.evaluate import FIRST_TEST_SEED
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports import regret
from marlserve.experiments.reports.regret_plot import cumulative_regret
from marlserve.experiments.studies.study import Candidate, Compared, Settings, Study

LINUCB, RANDOM = "linucb", "random"
ROUNDS, ROUNDS_PER_UPDATE = 10_000, 20
# The network and the contexts are those of the paper. Much of a reward is noise: large batches, and
# strong decay. Contexts differ in each round, so that even a greedy policy explores: little beta.
TRAINING = {
    "standardize_contexts": False,
    "seeds_by_steps": True,
    "hidden_sizes": [100],
    "train_batch_size_per_learner": 256,
    "updates_per_step": 16,
    "lr": 2e-3,
    "weight_decay": 1.0,
    "episodes_per_update": ROUNDS_PER_UPDATE,
}
_COPIES = 100  # of the problem, in which arms are drawn at random


class ContextualBandit(Study):
    """There is nothing to evaluate afterwards: what counts happened while learning."""

    problem = "contextual_bandit"
    presets = PRESETS
    candidates = {
        "neural_ucb": Candidate("neural_ucb", {"ucb_beta": 0.1}),
        "neural_linear": Candidate("neural_linear", {"ucb_beta": 0.3}),
    }
    metrics = (regret.REGRET,)

    compared = tuple(PRESETS)
    lacks = ("evaluate", "sweep")
    choices = {"function": tuple(FUNCTIONS), "reward": tuple(REWARDS)}

    def settings(
        self, preset: str, candidate: str, problem: Any, seed: int, env_steps: int | None
    ) -> Settings:
        return Settings(
            ROUNDS if env_steps is None else env_steps,
            TRAINING,
            {"num_envs_per_env_runner": ROUNDS_PER_UPDATE},
            fields={"instance_seed": seed},
        )

    def check(self, preset: str, problem: Any, command: str) -> None:
        if given := problem.instance_seed:
            raise ValueError(f"instance_seed is {given}; it follows from the seed: give --seeds")

    def variants(self, preset: str, problem: Any) -> list[Any]:
        return []

    def concluded(self, compared: Compared) -> None:
        """Write regret.csv and regret.md, with LinUCB and arms at random over as many rounds.

        The table is over the seeds that all policies in regret.csv have in common.
        """
        curves = regret.of_runs(compared.trained)
        rounds = max(int(points["pulls"].iloc[-1]) for points in curves.values())
        for seed in compared.seeds:
            curves[RANDOM, seed] = random_curve(compared.problem, rounds, seed)
            instance = replace(compared.problem, instance_seed=seed)
            curves[LINUCB, seed] = regret.curve(trained(instance, rounds, seed)[1])
        rows = regret.merge(compared.folder / "regret.csv", curves)
        title = f"{self.problem}, {compared.folder.name}"
        write(compared.folder / "regret.md", regret.show(rows, title, LINUCB))

    def draw(self, out: Path, folder: Path, problem: Any, policies: Sequence[str]) -> list[Path]:
        return [cumulative_regret(folder)] if (folder / "regret.csv").exists() else []


STUDY = ContextualBandit()


def random_curve(config: Config, rounds: int, seed: int) -> pd.DataFrame:
    """The cumulative regret of arms at random, on the instance of this seed.

    Args:
        config: its instance_seed is replaced.
        rounds: at least 1.
        seed: also of the rounds, which are not those of any training.

    Returns:
        as `regret.curve` gives it.
    """
    problem = Problem(replace(config, instance_seed=seed), _COPIES)
    first = FIRST_TEST_SEED + seed * _COPIES
    observations, parts = problem.reset(list(range(first, first + _COPIES))), []
    act = BASELINES[RANDOM].policy(problem)
    for _ in range(-(-rounds // _COPIES)):
        problem.step(act({"player": observations[:, 0]})["player"][:, None])
        parts.append(problem.metrics()[regret.REGRET])
        observations = problem.reset()
    return regret.curve(np.concatenate(parts)[:rounds])
