"""What an ablation varies: one thing at a time, from a preset's standard experiment.

gru        a recurrent network, or a feed-forward one
reward     what is learned from
levels     the weights to choose from; the paper's are 1, 1.2 ... 2, its authors' code's 1, 1.5, 2
step       seconds between two decisions; episodes are as long, and trainings have as many steps,
           so that a shorter step trains on less traffic
balancers  how many share the traffic; what is played changes with it, and so does the reference
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from marlserve.envs.load_balance import PRESETS, Config
from marlserve.experiments.harness.experiment import Experiment, label
from marlserve.experiments.studies.load_balance.study import STUDY

STANDARD = "standard"
REWARDS_COMPARED = (
    "excess_slowdown",
    "latency",
    "slowdown",
    "jain_index",
    "product_fairness",
    "max_mean",
    "gini",
)
_LEVELS = (
    (0.25, 0.5, 1.0, 1.5, 2.0),
    (1.0, 1.2, 1.4, 1.6, 1.8, 2.0),
    (1.0, 1.5, 2.0),
    (0.5, 1.0, 2.0),
    (1.0, 2.0),
)
# {factor: (setting of the algorithm or field of the Config, its values)}
FACTORS: dict[str, tuple[str, tuple]] = {
    "gru": ("use_gru", (False, True)),
    "reward": ("reward", REWARDS_COMPARED),
    "levels": ("weight_levels", _LEVELS),
    "step": ("step_s", (0.1, 0.25, 0.5, 1.0, 2.0)),
    "balancers": ("num_balancers", (1, 2, 4, 6)),
}
_SETTINGS = ("use_gru",)  # of algorithms; all others are fields of the Config
_PLAYED = ("num_balancers",)  # changes what is met, not only how it is learned and acted on


@dataclass(frozen=True)
class Variation:
    """The standard experiment with one thing changed, or the standard one itself."""

    name: str  # in results.csv: "reward=latency", or "standard"
    problem: Config  # to train on
    played: Config  # held out
    heuristic: str  # of `BASELINES`, to compare with
    reference: str  # the same in results.csv: "sed", or "sed,num_balancers=4"
    settings: dict[str, Any]  # of the algorithm, changed

    def experiment(self, preset: str, algorithm: str, seed: int, env_steps: int) -> Experiment:
        return STUDY.experiment(
            *(preset, algorithm, seed),
            problem=self.problem,
            settings=self.settings,
            env_steps=env_steps,
        )


def factors_of(preset: str, algorithm: str) -> dict[str, Any]:
    """{factor: its value in the standard experiment}, of the factors that an algorithm has: some
    have no recurrent network, or a number of balancers of their own."""
    standard, found = STUDY.experiment(preset, algorithm), {}
    for factor, (name, _) in FACTORS.items():
        if name in STUDY.candidates[algorithm].fields:
            continue
        if name not in _SETTINGS:
            value = standard.env_config[name]
            found[factor] = tuple(value) if isinstance(value, list) else value
        elif hasattr(config := standard.config(), name):
            found[factor] = getattr(config, name)
    return found


def variations(
    preset: str, algorithm: str, factors: Sequence[str] | None, rewards: Sequence[str]
) -> dict[str, dict[str, Variation]]:
    """What to train: {factor: {shown value: variation}}. The standard one is in every factor.

    Args:
        preset: what to start from.
        algorithm: what to train.
        factors: some of `FACTORS`; None: all that the algorithm has.
        rewards: values of the factor reward.

    Raises:
        ValueError: for a factor that the algorithm does not have.
    """
    usual_of = factors_of(preset, algorithm)
    config, test = PRESETS[preset], replace(PRESETS[preset], split="test")
    reference = "global_sed" if STUDY.candidates[algorithm].system else "sed"
    found: dict[str, dict[str, Variation]] = {}
    for factor in usual_of if factors is None else factors:
        if factor not in usual_of:
            raise ValueError(
                f"factors has {factor!r}; allowed for {algorithm} are {list(usual_of)}"
            )
        name, values = FACTORS[factor]
        values, usual = tuple(rewards) if factor == "reward" else values, usual_of[factor]
        found[factor] = {}
        for value in values if usual in values else (usual, *values):
            change = {} if value == usual else {name: value}
            settings = change if name in _SETTINGS else {}
            met = change if name in _PLAYED else {}
            found[factor][_shown(value)] = Variation(
                name=label("", change).lstrip(",") or STANDARD,
                problem=config if settings else replace(config, **change),
                played=replace(test, **met),
                heuristic=reference,
                reference=label(reference, met),
                settings=settings,
            )
    return found


def _shown(value: Any) -> str:
    return ", ".join(f"{x:g}" for x in value) if isinstance(value, tuple) else str(value)
