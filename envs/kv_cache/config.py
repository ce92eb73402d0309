"""The settings of the KV-cache problem, and the named ones."""

from dataclasses import dataclass

from marlserve.envs.kv_cache.rewards import REWARDS

CHOICES = {
    "action": ("discrete", "continuous"),
    "reward": tuple(REWARDS),
    "arrivals": ("recorded", "thinned"),
    "split": ("train", "test", "all"),
}
_POSITIVE = ("timeout_s", "split_hours", "step_s", "episode_hours", "request_scale")
_NOT_NEGATIVE = (
    "idle_w",
    "revenue_usd",
    "wait_penalty_usd_per_s",
    "loss_penalty_usd",
    "denial_penalty_usd",
)
_WHOLE = (("num_servers", 1), ("weeks", 2), ("data_seed", 0))  # weeks: to train on, to test on
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

    invocations_path: str = ""  # a file of marlserve.traces.invocations; "": its synthetic twin
    price_path: str = ""  # of traces.energy_price, likewise
    profile_path: str = ""  # of traces.kv_profile, likewise
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
        for name, allowed in CHOICES.items():
            self._check(name, getattr(self, name) in allowed, f"one of {allowed}")
        for name, low in _WHOLE:
            value = getattr(self, name)
            self._check(name, isinstance(value, int) and value >= low, f"whole, at least {low}")
        waiting = self.max_waiting is None or (
            isinstance(self.max_waiting, int) and self.max_waiting >= 0
        )
        self._check("max_waiting", waiting, "None, or whole, at least 0")
        for name in _POSITIVE:
            self._check(name, 0.0 < getattr(self, name) < float("inf"), "positive")
        for name in _NOT_NEGATIVE:
            self._check(name, 0.0 <= getattr(self, name) < float("inf"), "not negative")
        self._check("pue", 1.0 <= self.pue < float("inf"), "at least 1")
        steps = _PRICE_INTERVAL_S / self.step_s  # so that a price lasts for whole steps
        self._check("step_s", steps == int(steps), f"a divisor of {_PRICE_INTERVAL_S:.0f} s")
        self._check("episode_hours", self.episode_hours * 3600.0 >= self.step_s, "at least a step")
        split = self.split == "all" or bool(self.start_time)  # stretches do not matter
        fits = split or self.split_hours >= self.episode_hours
        self._check("split_hours", fits, f"at least episode_hours, {self.episode_hours}")

    def _check(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise ValueError(f"{name} is {getattr(self, name)!r}; allowed is {allowed}")

    @property
    def num_steps(self) -> int:
        """Decisions in an episode."""
        return round(self.episode_hours * 3600.0 / self.step_s)


SYNTHETIC = Config()
# The recorded demand of 2024 fills 900 servers; every other day is for training.
REALISTIC = Config(request_scale=2 / 9, split_hours=24.0)
SOURCE_COMPATIBLE = Config(
    arrivals="thinned", reward="source", idle_w=0.0, split="all", enable_deny=False
)
PRESETS = {
    "synthetic": SYNTHETIC,
    "realistic": REALISTIC,
    "source_compatible": SOURCE_COMPATIBLE,
}
