"""What policies would get, estimated from a log of another one, beside what they do get.

A bandit pulls arms for test prompts and logs, for each, the arm, its chance, and how the compressed
answer agreed with the full one: as a service does that answers some requests by both. From that,
`envs.off_policy_estimates` tell what policies would have got that learned from training prompts;
the table knows what that is.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from marlserve.envs import off_policy_estimates as estimates
from marlserve.envs.kv_compression import Config, Problem, baselines, table
from marlserve.envs.linear_bandits import EpsilonGreedy
from marlserve.envs.off_policy_estimates import OffPolicyEstimate
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.kv_compression.learnable import rewards_of, scaled_contexts
from marlserve.experiments.studies.kv_compression.tables import with_table
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study

HOW = ("ips", "snips", "doubly robust")


@dataclass(frozen=True)
class OffPolicy:
    """Estimate from logs of a bandit what other policies would get, beside what they do get."""

    preset: str = ""  # whose prompts; the flags of the problem change them
    pulls: int = 10_000  # in a log
    random_choices: float = 2000.0  # the t-th pull is any arm with a chance of so many over t
    logs: int = 20  # estimates are made from each; the first is shown
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        wanted = asked(study.presets[self.preset], self)
        study.check(self.preset, wanted, "off-policy")
        problem = with_table(replace(wanted, split="test"), self.out, ("train", "test"))
        if not problem.table_path:
            raise ValueError("table_path is ''; the truth is known from a table only")
        text = told(problem, self.pulls, self.random_choices, self.logs)
        print(text)


def told(problem: Config, pulls: int, random_choices: float, logs: int) -> str:
    """The tables: of the first log, and how far off the estimates of all logs are."""
    rewards, contexts = rewards_of(problem, "test"), scaled_contexts(problem, "test")
    wanted = targets(problem, contexts)
    truths = {name: float((chances * rewards).sum(1).mean()) for name, chances in wanted.items()}
    ridge = baselines.tuned(problem)["epsilon_greedy"]["ridge"]
    estimates_of = [
        estimated(
            EpsilonGreedy(rewards.shape[1], contexts.shape[1], random_choices, ridge, seed),
            *(contexts, rewards, wanted, pulls, seed),
        )
        for seed in range(logs)
    ]
    lines = [
        f"| policy | truth | {' | '.join(HOW)} | effective samples |",
        f"| --- | ---: |{' ---: |' * (len(HOW) + 1)}",
    ]
    for name, truth in truths.items():
        by = estimates_of[0][name]
        cells = [f"{by[how].value:.3f} [{by[how].low:.3f}, {by[how].high:.3f}]" for how in HOW]
        lines.append(
            f"| {name} | {truth:.3f} | {' | '.join(cells)} | {by['ips'].effective_samples:.0f} |"
        )
    lines += [
        "",
        "| estimate | bias | error | intervals that cover |",
        "| --- | ---: | ---: | ---: |",
    ]
    for how in HOW:
        pairs = [(one[name][how], truth) for one in estimates_of for name, truth in truths.items()]
        off = np.array([estimate.value - truth for estimate, truth in pairs])
        covers = np.mean([estimate.low <= truth <= estimate.high for estimate, truth in pairs])
        lines.append(
            f"| {how} | {off.mean():+.4f} | {np.sqrt((off**2).mean()):.4f} | {covers:.0%} |"
        )
    return "\n".join(lines)


def targets(problem: Config, contexts: np.ndarray) -> dict[str, np.ndarray]:
    """Chances of all arms for all test prompts, [P, K], of what learned from the training ones."""
    copy, found = Problem(problem), table.Table(problem)
    everything, count = np.eye(len(problem.arms)), len(found)
    means, types = baselines.training_rewards(copy), found.type(np.arange(count))
    learned = {
        name: everything[baselines.trained(name, copy)[0].greedy(contexts)]
        for name in baselines.BANDITS
    }
    return {
        "random": np.full((count, len(everything)), 1.0 / len(everything)),
        "best_fixed": everything[np.full(count, means.mean(0).argmax())],
        **learned,
        "best_per_type": everything[baselines.best_of_types(copy)[types]],
    }


def estimated(
    bandit: EpsilonGreedy,
    contexts: np.ndarray,
    rewards: np.ndarray,
    wanted: dict[str, np.ndarray],
    pulls: int,
    seed: int,
) -> dict[str, dict[str, OffPolicyEstimate]]:
    """By the policy's name and the estimate's, from one log, which the bandit makes."""
    prompts = np.random.default_rng((seed, 1)).integers(len(contexts), size=pulls)
    arms, had = np.zeros(pulls, int), np.zeros(pulls)
    for pull, prompt in enumerate(prompts):
        context = contexts[prompt : prompt + 1]
        chances = bandit.chances(context)[0]
        arms[pull] = (arm := bandit.choose(context))[0]
        had[pull] = chances[arm[0]]
        bandit.learn(context, arm, rewards[prompt, arm])
    got = rewards[prompts, arms]
    model = estimates.reward_model(contexts[prompts], arms, got, rewards.shape[1])
    result = {}
    for name, chances in wanted.items():
        target = chances[prompts]
        weights = estimates.importance_weights(target[np.arange(pulls), arms], had)
        result[name] = {
            "ips": estimates.ips(got, weights),
            "snips": estimates.snips(got, weights),
            "doubly robust": estimates.doubly_robust(got, weights, arms, model, target),
        }
    return result
