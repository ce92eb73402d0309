"""The settings of the KV-cache problem, and the named ones."""

from dataclasses import dataclass, replace

from marlserve.envs import checks
from marlserve.envs.kv_cache.rewards import REWARDS

CHOICES = {
    "action": ("discrete", "continuous"),
    "reward": tuple(REWARDS),
    "arrivals": ("recorded", "thinned"),
    "split": ("train", "test", "all"),
}
_NUMBERS = {  # at least, at most
    "timeout_s": (0.001, 86_400.0),
    "idle_w": (0.0, 1e6),
    "pue": (1.0, 100.0),
    "revenue_usd": (0.0, 1e6),
    "wait_penalty_usd_per_s": (0.0, 1e6),
    "loss_penalty_usd": (0.0, 1e6),
    "denial_penalty_usd": (0.0, 1e6),
    "service_floor": (0.0, 1.0),
    "request_scale": (1e-6, 1e6),
    "split_hours": (0.001, 87_600.0),
    "episode_hours": (0.001, 87_600.0),
    "step_s": (0.1, 300.0),
}
_WHOLE = {  # weeks: to train on, to test on
    "num_servers": (1, 100_000),
    "weeks": (2, 520),
    "data_seed": (0, float("inf")),
    "price_shift_days": (-36_500, 36_500),
}
_PATHS = ("invocations_path", "price_path", "profile_path")
_PRICE_INTERVAL_S = 300.0  # the shortest one that prices come in


@dataclass(frozen=True)
class Config:
    """Every field has a default that runs: synthetic days.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    num_servers: int = 200  # each serves one request at a time
    max_waiting: int | None = None  # requests that wait at most, more fail; None: 5 a server
    timeout_s: float = 10.0  # after which a waiting request gives up
    idle_w: float = 25.0  # power of a server without a request
    pue: float = 1.3  # power usage effectiveness: what the site draws over what servers draw

    enable_deny: bool = True  # a last action that turns away what arrives
    action: str = "discrete"  # or "continuous"
    reward: str = "profit"
    # A request of some ten thousand tokens at $0.02 a million, a small open model's price, earns
    # more than its electricity costs up to some $90/MWh.
    revenue_usd: float = 2e-4  # for a request at the full cache's mean quality; in proportion to it
    wait_penalty_usd_per_s: float = 1e-5  # for every second that a request waits
    loss_penalty_usd: float = 1e-4  # for one that gives up or fails
    denial_penalty_usd: float = 5e-5  # for one that is denied
    service_floor: float = 0.0  # share of all requests that is to be served, a constraint; 0: none

    invocations_path: str = ""  # a file of marlserve.traces.invocations; "": its synthetic twin
    price_path: str = ""  # of traces.energy_price, likewise
    profile_path: str = ""  # of traces.kv_profile, likewise
    # Prices are played so many days later than they were recorded: beside demand of another year.
    price_shift_days: int = 0
    weeks: int = 8  # of synthetic demand and prices
    data_seed: int = 0  # of what is synthetic
    request_scale: float = 1.0  # how often each recorded request counts
    arrivals: str = "recorded"  # or "thinned": see sims.arrivals

    start_time: str = ""  # "2024-05-10 00:00:00", UTC; "": any in the split, drawn per episode
    split: str = "train"  # every other stretch of split_hours, the first one among them; "test"
    split_hours: float = 168.0
    step_s: float = 10.0  # between two decisions
    episode_hours: float = 24.0

    def __post_init__(self):
        for name, choices in CHOICES.items():
            checks.choice(self, name, choices)
        for name, (least, most) in _WHOLE.items():
            checks.whole(self, name, least, most)
        checks.whole(self, "max_waiting", 0, 1_000_000, none=True)
        for name, bounds in _NUMBERS.items():
            checks.number(self, name, *bounds)
        checks.kind(self, "enable_deny", bool)
        for name in (*_PATHS, "start_time"):
            checks.kind(self, name, str)
        steps = _PRICE_INTERVAL_S / self.step_s  # so that a price lasts for whole steps
        divides = steps == int(steps)
        checks.require(self, "step_s", divides, f"a divisor of {_PRICE_INTERVAL_S:.0f} s")
        long = self.episode_hours * 3600.0 >= self.step_s
        checks.require(self, "episode_hours", long, "at least a step")
        split = self.split == "all" or bool(self.start_time)  # stretches do not matter
        fits = split or self.split_hours >= self.episode_hours
        allowed = f"at least episode_hours, {self.episode_hours}"
        checks.require(self, "split_hours", fits, allowed)

    @property
    def num_steps(self) -> int:
        """Decisions in an episode."""
        return round(self.episode_hours * 3600.0 / self.step_s)


SYNTHETIC = Config()
# The recorded demand of 2024 fills 900 servers. Every other third of a day is for training, and as
# days have three, both halves have all hours: ten windows of the week are played.
REALISTIC = Config(request_scale=2 / 9, split_hours=8.0, episode_hours=8.0)
# Profit alone denies more than a tenth of these requests, the strongest compression loses 3 %.
SERVICE_FLOOR = replace(REALISTIC, service_floor=0.93)
SOURCE_COMPATIBLE = Config(
    arrivals="thinned", reward="source", idle_w=0.0, split="all", enable_deny=False
)
PRESETS = {
    "synthetic": SYNTHETIC,
    "realistic": REALISTIC,
    "service_floor": SERVICE_FLOOR,
    "source_compatible": SOURCE_COMPATIBLE,
}
