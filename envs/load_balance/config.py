"""The settings of the load-balancing problem, and the named ones."""

from dataclasses import dataclass, fields

from marlserve import traces
from marlserve.envs.load_balance.rewards import REWARDS
from marlserve.envs.sims.cluster import DISPATCH
from marlserve.envs.sims.reservoir import FEATURES as STATISTICS
from marlserve.envs.sims.reservoir import RULES

MIN_WEIGHT, MAX_WEIGHT = 0.1, 10.0  # of action="weights"

CHOICES = {
    "dispatch": tuple(DISPATCH),
    "reach": ("all", "own"),
    "trace": tuple(traces.names(column="work_s")),
    "split": ("train", "test", "all"),
    "action": ("levels", "weights"),
    "reward": tuple(REWARDS),
    "reward_field": tuple(f"{kind}_{name}" for kind in ("fct", "duration") for name in STATISTICS),
    "reward_scope": ("team", "agent"),
    "reservoir_rule": RULES,
}


@dataclass(frozen=True)
class Config:
    """Every field has a default that runs: the paper's moderate testbed.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    num_balancers: int = 2
    cores: tuple[int, ...] = (2, 2, 2, 2, 4, 4, 4)  # of each server
    max_running: int | None = 32  # jobs that share a server's cores; None: no limit
    max_backlog: int | None = 128  # jobs that wait at a server; more are rejected
    dispatch: str = "shortest_expected_delay"  # how a flow's server is chosen, given the weights
    reach: str = "all"  # servers a balancer may use: "all", or "own": its own M / K

    trace: str = "wikipedia"  # the traffic: a module of marlserve.traces with work_s
    trace_path: str = ""  # the file, for trace="flows"
    split: str = "train"  # odd hours or the file's first half; "test": even hours, second half
    load: tuple[float, float] = (0.80, 0.95)  # offered load over all cores, uniform per episode
    mean_work_s: float = 0.2  # of a job on one core, for trace="poisson" and "bursts"

    slow_servers: int = 0  # how many are slow at a time, unannounced
    slow_factor: float = 0.15  # speed of a slow server; 0: it fails, its jobs start anew elsewhere
    slow_s: tuple[float, float] = (5.0, 15.0)  # how long, uniform
    slow_gap_s: float = 2.0  # until the next becomes slow, uniform up to this

    step_s: float = 0.25  # between two decisions
    episode_s: float = 60.0
    action: str = "levels"  # "levels" of weight, or real "weights"
    weight_levels: tuple[float, ...] = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    reward: str = "excess_slowdown"
    reward_field: str = "duration_discounted_mean"  # what the fairness rewards compare
    reward_scope: str = "team"  # one reward for the team, or "agent": each its own
    reservoir_rule: str = "overwrite"  # see sims.reservoir

    def __post_init__(self):
        for field in fields(self):  # JSON and the command line give lists
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        for name, allowed in CHOICES.items():
            self._check(name, getattr(self, name) in allowed, f"one of {allowed}")
        self._check("num_balancers", self.num_balancers >= 1, "at least 1")
        self._check("cores", len(self.cores) >= 1 and min(self.cores) > 0, "positive numbers")
        for name, least in (("max_running", 1), ("max_backlog", 0)):
            value = getattr(self, name)
            self._check(name, value is None or value >= least, f"None, or at least {least}")
        own = self.reach == "all" or len(self.cores) % self.num_balancers == 0
        self._check("cores", own, f"for reach='own', a multiple of {self.num_balancers} servers")
        low, high = self.load
        self._check("load", 0.0 < low <= high <= 2.0, "(low, high) with 0 < low <= high <= 2")
        self._check("mean_work_s", self.mean_work_s > 0.0, "positive")
        self._check(
            "trace_path",
            (self.trace == "flows") == bool(self.trace_path),
            "a file for trace='flows', and only then",
        )
        self._check(
            "slow_servers", 0 <= self.slow_servers <= len(self.cores), f"0 to {len(self.cores)}"
        )
        self._check("slow_factor", 0.0 <= self.slow_factor <= 1.0, "0 to 1")
        self._check("slow_s", 0.0 < self.slow_s[0] <= self.slow_s[1], "(low, high), positive")
        self._check("slow_gap_s", self.slow_gap_s >= 0.0, "not negative")
        self._check("step_s", self.step_s > 0.0, "positive")
        self._check("episode_s", self.step_s <= self.episode_s <= 3600.0, "step_s to 3600")
        levels = self.weight_levels
        self._check("weight_levels", len(levels) >= 2 and min(levels) > 0, "two or more, positive")

    def _check(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise ValueError(f"{name} is {getattr(self, name)!r}; allowed is {allowed}")

    @property
    def num_servers(self) -> int:
        """M."""
        return len(self.cores)

    @property
    def num_steps(self) -> int:
        """Decisions in an episode."""
        return round(self.episode_s / self.step_s)


MODERATE = Config()
LARGE = Config(num_balancers=6, cores=(4,) * 12 + (8,) * 12, trace="poisson", episode_s=30.0)
QUAD = Config(num_balancers=4, cores=(4,) * 16)
# Even when two large servers are slow, the rest can carry this load. A slow one is worth far less
# than half a fast one: hence the wider levels.
DEGRADED = Config(load=(0.55, 0.65), slow_servers=2, weight_levels=(0.25, 0.5, 1.0, 1.5, 2.0))
PRESETS = {"moderate": MODERATE, "large": LARGE, "quad": QUAD, "degraded": DEGRADED}
