"""Who balances: HAProxy alone, with weights by cores, or under controllers; all simulated, too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from marlserve.envs.base import Policy
from marlserve.envs.load_balance import BASELINES, Config, Problem
from marlserve.experiments.harness.evaluate import play
from marlserve.experiments.studies.runs import experiment_of
from marlserve.experiments.testbed.episode import Arrangement
from marlserve.policies import export

RULE = "least_connections"  # the simulator's name for what `balance leastconn` does
REFERENCE = "leastconn"


def reference(name: str) -> str:
    """With what a contender is compared: the same balancer alone, or HAProxy's leastconn."""
    return "envoy" if name.startswith("envoy") else REFERENCE


@dataclass(frozen=True)
class Contender:
    """One way to balance.

    Attributes:
        config: the problem as the simulator plays it.
        policy: of the simulated balancers; None: the simulator does not have this rule.
    """

    arrangement: Arrangement
    config: Config
    policy: Callable[[Problem], Policy] | None = None

    def predict(self, seed: int) -> dict[str, float]:
        """What the simulator says of the episode of that seed: metrics of `load_balance`, each
        named predicted_...; none if it does not have the rule."""
        if self.policy is None:
            return {}
        problem = Problem(self.config)
        (row,) = play(problem, self.policy(problem), [seed]).to_dict("records")
        return {f"predicted_{name}": row[name] for name in problem.metrics()}


def contenders(config: Config, learned: Path, slow_motion: float) -> dict[str, Contender]:
    """All, by name.

    Args:
        config: the problem.
        learned: the policy file of what was trained on it in simulation.
        slow_motion: of the real ones.

    Raises:
        ValueError: if there is no such file, or it does not say what it was trained on.
    """

    def arranged(balance: str, flags: tuple[str, ...] | None = None) -> Arrangement:
        return Arrangement(balance, flags, slow_motion)

    by_rule = replace(config, dispatch=RULE, action="weights")
    adapting = ("--mode", "heuristic", "--heuristic", "adaptive_sed")
    sed, adaptive = BASELINES["sed"].policy, BASELINES["adaptive_sed"].policy
    playing = ("--policy", str(learned), "--mode", "policy", "--share", "1")
    trained = _as_trained(config, learned)
    return {
        REFERENCE: Contender(arranged("leastconn"), by_rule, sed),
        "roundrobin": Contender(arranged("roundrobin"), config),
        "random(2)": Contender(arranged("random(2)"), config),
        "adaptive_sed": Contender(arranged("leastconn", adapting), by_rule, adaptive),
        "envoy": Contender(arranged("envoy"), config),
        "envoy, ppo": Contender(arranged("envoy", playing), trained),
        "ppo": Contender(arranged("leastconn", playing), trained, lambda _: export.load(learned)),
    }


def _as_trained(config: Config, path: Path) -> Config:
    """The problem, with weights and rule as in the training of the policy at the path."""
    trained = experiment_of(path).problem_config()
    if trained.dispatch != RULE:
        raise ValueError(f"{path} was trained with dispatch {trained.dispatch!r}, not {RULE!r}")
    return replace(
        config, dispatch=RULE, action=trained.action, weight_levels=trained.weight_levels
    )
