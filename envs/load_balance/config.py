"""The settings of the load-balancing problem, and the named ones."""

from dataclasses import dataclass

from marlserve import traces
from marlserve.envs import checks
from marlserve.envs.load_balance.rewards import REWARDS
from marlserve.envs.sims.arrivals import MOST_ARRIVALS
from marlserve.envs.sims.cluster import DISPATCH
from marlserve.envs.sims.reservoir import FEATURES as STATISTICS
from marlserve.envs.sims.reservoir import RULES
from marlserve.traces import wikipedia

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
    cores: tuple[float, ...] = (2, 2, 2, 2, 4, 4, 4)  # of each server
    drawn_speeds: tuple[float, ...] = (1.0,)  # a server has one of them in an episode
    max_running: int | None = 32  # jobs that share a server's cores; None: no limit
    max_backlog: int | None = 128  # jobs that wait at a server; more are rejected
    dispatch: str = "shortest_expected_delay"  # how a flow's server is chosen, given the weights
    reach: str = "all"  # servers a balancer may use: "all", or "own": its own M / K

    trace: str = "wikipedia"  # the traffic: a module of marlserve.traces with work_s
    trace_path: str = ""  # the file, for trace="flows"
    split: str = "train"  # odd hours or the file's first half; "test": even hours, second half
    load: tuple[float, float] = (0.80, 0.95)  # of all cores at their speeds, uniform per episode
    mean_work_s: float = 0.2  # of a job on one core, for trace="poisson" and "bursts"

    slow_servers: int = 0  # how many are slow at a time, unannounced
    slow_factor: float = 0.15  # speed of a slow server; 0: it fails, its jobs start anew elsewhere
    slow_s: tuple[float, float] = (5.0, 15.0)  # how long, uniform
    slow_gap_s: float = 2.0  # until the next becomes slow, uniform up to this

    step_s: float = 0.25  # between two decisions
    episode_s: float = 60.0
    # Played before the first decision, in whole steps, under `dispatch` with weights in proportion
    # to the cores, and left out of rewards and metrics; so an episode starts in a busy system, and
    # balancers remember flows. 0: it starts empty.
    warm_up_s: float = 30.0
    action: str = "levels"  # "levels" of weight, or real "weights"
    weight_levels: tuple[float, ...] = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    reward: str = "excess_slowdown"
    reward_field: str = "duration_discounted_mean"  # what the fairness rewards compare
    reward_scope: str = "team"  # one reward for the team, or "agent": each its own
    reservoir_rule: str = "overwrite"  # see sims.reservoir

    def __post_init__(self):
        checks.tuples(self, "cores", "drawn_speeds", "load", "slow_s", "weight_levels")
        for name, choices in CHOICES.items():
            checks.choice(self, name, choices)
        checks.whole(self, "num_balancers", 1, 1000)
        checks.numbers(self, "cores", 0.01, 1e4, most=4096)
        checks.numbers(self, "drawn_speeds", 0.01, 100.0, most=100)
        checks.whole(self, "max_running", 1, 10**9, none=True)
        checks.whole(self, "max_backlog", 0, 10**9, none=True)
        own = self.reach == "all" or len(self.cores) % self.num_balancers == 0
        allowed = f"for reach='own', a multiple of {self.num_balancers} servers"
        checks.require(self, "cores", own, allowed)
        checks.interval(self, "load", 0.01, 2.0)
        checks.number(self, "mean_work_s", 1e-6, 1e4)
        checks.kind(self, "trace_path", str)
        file = (self.trace == "flows") == bool(self.trace_path)
        checks.require(self, "trace_path", file, "a file for trace='flows', and only then")
        checks.whole(self, "slow_servers", 0, len(self.cores))
        factor = self.slow_factor
        works = checks.is_number(factor, 0.001, 1.0) or checks.is_number(factor, 0.0, 0.0)
        checks.require(self, "slow_factor", works, "0, or a number from 0.001 to 1")
        checks.interval(self, "slow_s", 0.1, 1e6)
        checks.number(self, "slow_gap_s", 0.0, 1e6)
        checks.number(self, "step_s", 0.001, 3600.0)
        long = checks.is_number(self.episode_s, self.step_s, 3600.0)
        checks.require(self, "episode_s", long, f"step_s, {self.step_s}, to 3600")
        checks.number(self, "warm_up_s", 0.0, 3600.0)
        hour = self.trace != "wikipedia" or self.warm_up_s + self.episode_s <= 3600.0
        checks.require(self, "warm_up_s", hour, "for trace='wikipedia', 3600 less episode_s")
        checks.numbers(self, "weight_levels", 0.001, 1000.0, least=2, most=1000)
        if self.trace != "flows":  # else the file tells; see `traffic`
            cores = sum(self.cores) * max(self.drawn_speeds)
            self._check_rate(self.load[1] * cores / self.expected_work_s * self.step_s)

    def _check_rate(self, flows_per_step: float) -> None:
        if flows_per_step > MOST_ARRIVALS:
            raise ValueError(
                f"load {self.load[1]} of {sum(self.cores):g} cores, of drawn_speeds "
                f"{self.drawn_speeds}, with a mean work of {self.expected_work_s} s "
                f"(mean_work_s is {self.mean_work_s}) and step_s {self.step_s}, is "
                f"{flows_per_step:.3g} flows in a step; allowed are {MOST_ARRIVALS}"
            )

    @property
    def expected_work_s(self) -> float:
        """Of a job of synthetic traffic, on one core."""
        return wikipedia.MEAN_WORK_S if self.trace == "wikipedia" else self.mean_work_s

    @property
    def num_servers(self) -> int:
        """M."""
        return len(self.cores)

    @property
    def num_steps(self) -> int:
        """Decisions in an episode."""
        return round(self.episode_s / self.step_s)

    @property
    def warm_up_steps(self) -> int:
        """Steps before the first decision."""
        return round(self.warm_up_s / self.step_s)


# By shortest expected delay the mean latency is level after 10 to 20 s, at each preset's highest
# load. Weighted random choice takes longer: on LARGE, at 0.95, it is within 10 % after 60 s.
MODERATE = Config()
LARGE = Config(
    num_balancers=6,
    cores=(4,) * 12 + (8,) * 12,
    trace="poisson",
    episode_s=30.0,
    warm_up_s=60.0,
)
QUAD = Config(num_balancers=4, cores=(4,) * 16)
# Even when two large servers are slow, the rest can carry this load. A slow one is worth far less
# than half a fast one: hence the wider levels.
DEGRADED = Config(load=(0.55, 0.65), slow_servers=2, weight_levels=(0.25, 0.5, 1.0, 1.5, 2.0))
# How fast a server is must be found out anew in each episode, and changes on the way.
UNKNOWN = Config(
    drawn_speeds=(0.25, 0.5, 1.0, 2.0),
    load=(0.25, 0.45),
    slow_servers=2,
    weight_levels=(0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
)
PRESETS = {
    "moderate": MODERATE,
    "large": LARGE,
    "quad": QUAD,
    "degraded": DEGRADED,
    "unknown": UNKNOWN,
}
