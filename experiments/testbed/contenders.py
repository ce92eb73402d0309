"""Who balances: HAProxy alone, with weights by cores, or under controllers; all simulated, too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from marlserve.envs.base import Policy
from marlserve.envs.load_balance import BASELINES, Config, Problem
from marlserve.experiments.harness.evaluate import play
from marlserve.experiments.testbed.episode import Arrangement
from marlserve.policies import export

RULE = "least_connections"  # the simulator's name for what `balance leastconn` does
REFERENCE = "leastconn"


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


def contenders(config: Config, learned: Path) -> dict[str, Contender]:
    """All, by name.

    Args:
        config: the problem.
        learned: the policy file of what was trained on it in simulation.

    Raises:
        ValueError: if there is no such file, or it does not say what it was trained on.
    """
    by_rule = replace(config, dispatch=RULE, action="weights")
    adapting = ("--mode", "heuristic", "--heuristic", "adaptive_sed")
    return {
        REFERENCE: Contender(Arrangement("leastconn"), by_rule, BASELINES["sed"].policy),
        "roundrobin": Contender(Arrangement("roundrobin"), config),
        "random(2)": Contender(Arrangement("random(2)"), config),
        "adaptive_sed": Contender(
            Arrangement("leastconn", adapting), by_rule, BASELINES["adaptive_sed"].policy
        ),
        "ppo": _learned(config, learned),
    }


def _learned(config: Config, path: Path) -> Contender:
    known = export.read(path).training.get("env_config")
    if known is None:
        raise ValueError(f"{path} does not say what it was trained on; export it anew")
    trained = Config(**known)
    if trained.dispatch != RULE:
        raise ValueError(f"{path} was trained with dispatch {trained.dispatch!r}, not {RULE!r}")
    own = replace(config, dispatch=RULE, action=trained.action, weight_levels=trained.weight_levels)
    flags = ("--policy", str(path), "--mode", "policy", "--share", "1")
    return Contender(Arrangement("leastconn", flags), own, lambda problem: export.load(path))
