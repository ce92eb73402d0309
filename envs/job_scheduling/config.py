"""The settings of the scheduling problem, and the named ones."""

from dataclasses import dataclass

from marlserve.envs import checks
from marlserve.envs.job_scheduling.rewards import REWARDS
from marlserve.envs.job_scheduling.rules import LASTING, RULES
from marlserve.envs.sims.backfill import BACKFILL
from marlserve.envs.sims.backfill_grid import MOST_CLUSTERS

CHOICES = {
    "trace": ("lublin", "file"),
    "split": ("train", "test"),
    "backfill": tuple(BACKFILL),
    "action": ("choose", "inspect"),
    "base": tuple(RULES),
    "reward": tuple(REWARDS),
    "reward_scope": ("team", "agent"),
}


@dataclass(frozen=True)
class Config:
    """Every field has a default that runs: LUBLIN.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    backfill: str = "easy"  # or "conservative", or "none"; see sims.backfill
    kill: bool = False  # whether jobs are stopped at their requested time
    max_visible: int = 128  # jobs that are shown: V

    action: str = "choose"  # a job; or "inspect" what a rule chooses
    base: str = "sjf"  # that rule, which the reward "gain" compares with, too
    max_rejections: int = 72  # of one job
    rejection_s: float = 600.0  # that one takes at most

    trace: str = "lublin"  # drawn, or read from a "file"
    trace_path: str = ""  # in the Standard Workload Format
    split: str = "train"  # "test": another drawn log, or the later part of the file
    train_share: float = 0.5  # of the file's jobs that are for training, the first ones
    num_processors: int = 256  # of the cluster, if the log is drawn
    offered_load: float = 1.0  # of a drawn log: the share of the cluster that it fills
    overestimate: float = 0.0  # of a drawn log: requested times are up to 1 + this times too long

    clusters: tuple[int, ...] = ()  # processors of each of several; (): one, of num_processors
    loads: tuple[float, ...] = ()  # of each one's own jobs; (): offered_load
    transfer_s: float = 60.0  # until a job that is sent to another cluster is there
    max_migrations: int = 1  # of one job

    num_jobs: int = 256  # of an episode, of all clusters
    reward: str = "bounded_slowdown"  # see rewards
    reward_scope: str = "team"  # of several clusters: one reward, or "agent": of its own jobs

    def __post_init__(self):
        checks.tuples(self, "clusters", "loads")
        for name, choices in CHOICES.items():
            checks.choice(self, name, choices)
        checks.kind(self, "kill", bool)
        checks.whole(self, "max_visible", 1, 4096)
        lasts = self.reward != "gain" or self.base in LASTING
        checks.require(self, "base", lasts, f"one of {LASTING} for reward='gain'")
        checks.whole(self, "max_rejections", 0, 10**6)
        checks.number(self, "rejection_s", 1.0, 1e6)
        checks.kind(self, "trace_path", str)
        file = (self.trace == "file") == bool(self.trace_path)
        checks.require(self, "trace_path", file, "a file for trace='file', and only then")
        checks.number(self, "train_share", 0.01, 0.99)
        checks.whole(self, "num_processors", 8, 10**6)
        checks.number(self, "offered_load", 0.01, 100.0)
        checks.number(self, "overestimate", 0.0, 1000.0)
        checks.whole(self, "num_jobs", 1, 4096)
        self._check_clusters()

    def _check_clusters(self) -> None:
        sizes = isinstance(self.clusters, tuple) and len(self.clusters) <= MOST_CLUSTERS
        sizes = sizes and all(checks.is_whole(size, 8, 10**6) for size in self.clusters)
        allowed = f"a tuple of at most {MOST_CLUSTERS} sizes, 8 to 1000000"
        checks.require(self, "clusters", sizes, allowed)
        loads = isinstance(self.loads, tuple) and len(self.loads) in (0, len(self.clusters))
        loads = loads and all(checks.is_number(load, 0.01, 100.0) for load in self.loads)
        checks.require(self, "loads", loads, "(), or of each cluster a number from 0.01 to 100")
        checks.number(self, "transfer_s", 0.0, 1e6)
        checks.whole(self, "max_migrations", 0, MOST_CLUSTERS - 1)
        for name, value in (("trace", "lublin"), ("action", "choose")):
            only = not self.clusters or getattr(self, name) == value
            checks.require(self, name, only, f"{value!r} with clusters={self.clusters}")
        gains = bool(self.clusters) and self.reward == "gain"
        checks.require(self, "reward", not gains, "any but 'gain' with several clusters")


LUBLIN = Config()
ESTIMATED = Config(overestimate=4.0)
INSPECTED = Config(action="inspect")
GRID = Config(clusters=(128, 128, 64), loads=(1.3, 0.6, 0.6), num_jobs=384, max_visible=16)
PRESETS = {"lublin": LUBLIN, "estimated": ESTIMATED, "inspected": INSPECTED, "grid": GRID}
