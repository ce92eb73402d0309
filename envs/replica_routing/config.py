"""The settings of the routing problem, and the named ones."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from marlserve.envs import checks
from marlserve.envs.replica_routing import hardware
from marlserve.envs.replica_routing.changes import alternate
from marlserve.envs.replica_routing.rewards import REWARDS
from marlserve.envs.sims.replica import Engine, TableTiming, Timing
from marlserve.envs.sims.replica_roofline import GPUS, MODELS
from marlserve.traces.conversations import PRESETS as SETTINGS

_TUPLES = ("speeds", "gpus", "traffic", "load", "sustainable_per_s", "change_s", "change_speeds")
_PLANS = (("drain", "drain_s"), ("join", "join_s"))  # replicas, and when
CHOICES = {
    "gpus": tuple(GPUS),
    "model_shape": tuple(MODELS),
    "trace": ("conversations", "file"),
    "split": ("train", "test"),
    "view": ("replicas", "costs", "source"),
    "reward": tuple(REWARDS),
    "reward_scope": ("team", "agent"),
}


@dataclass(frozen=True)
class Config:
    """Every field has a default that runs: LONG.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    num_gateways: int = 1
    speeds: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # of each replica's passes
    told_speeds: bool = True  # whether gateways know them
    gpus: tuple[str, ...] = ()  # that each is on, by data sheet and speed: see `hardware`
    model_shape: str = "llama_3_8b"  # that is served, on GPUs
    timing_path: str = ""  # of an engine, as `calibrate` wrote it; "": see `timing`
    block_tokens: int = 64  # of the engines' caches; see sims.replica
    num_blocks: int = 16_384  # in the cache of each; on GPUs at most, beside the weights
    max_num_seqs: int = 256  # requests that one runs at once
    max_num_batched_tokens: int = 8_192  # of one pass

    trace: str = "conversations"  # drawn, or read from a "file"
    traffic: tuple[str, ...] = ("long",)  # settings of conversations; each phase has one
    trace_path: str = ""  # in a form of traces.llm_requests
    split: str = "train"  # "test": other conversations, or the second half of the file
    load: tuple[float, float] = (0.8, 0.8)  # share of sustainable_per_s, uniform per phase
    sustainable_per_s: tuple[float, ...] = (10.5,)  # of each: requests at a load of 1
    phase_s: float = 0.0  # mean length of a phase, uniform; 0: an episode is one
    told_output: bool = False  # whether a request's number of output tokens is predicted, exactly

    view: str = (
        "replicas"  # rows for these, rows with "costs" as well, or the ten numbers of `source`
    )
    round_s: float = 0.1  # requests of different gateways within it are decided on at once
    scrape_s: float = 0.0  # between two looks at what replicas tell; 0: at each round
    change_every_s: float = 0.0  # mean time until a replica changes, at random; 0: never
    change_s: tuple[float, float] = (10.0, 30.0)  # for how long, uniform
    change_speeds: tuple[float, ...] = (0.25,)  # one of these times its speed; 0: it is down
    drain: tuple[int, ...] = ()  # replicas that end what they have, and take no more, ...
    drain_s: tuple[float, ...] = ()  # ... from these seconds after the warm-up on
    join: tuple[int, ...] = ()  # those that come, or come back when they have drained, ...
    join_s: tuple[float, ...] = ()  # ... with an empty cache, at these seconds

    episode_s: float = 120.0  # in which requests come
    warm_up_s: float = 60.0  # before it, by fewest requests; no metric counts it
    reward: str = "foreseen"  # see rewards
    reward_scope: str = "agent"  # each its own, or one reward for the "team"
    reward_unit_s: float = 10.0  # seconds that count as a reward of 1
    e2e_weight: float = 1.0  # of the time to the last token
    ttft_weight: float = 3.0  # of the time to the first
    failure_s: float = 60.0  # that a failed request counts as
    slo_ttft_s: float = 1.0  # a request is served well within both
    slo_tpot_s: float = 0.05

    def __post_init__(self):
        checks.tuples(self, *_TUPLES, *(name for plan in _PLANS for name in plan))
        for name, choices in CHOICES.items():
            if name != "gpus":  # which has several
                checks.choice(self, name, choices)
        checks.whole(self, "num_gateways", 1, 256)
        checks.numbers(self, "speeds", 0.01, 100.0, most=1024)
        for name in ("told_speeds", "told_output"):
            checks.kind(self, name, bool)
        checks.whole(self, "block_tokens", 1, 4096)
        checks.whole(self, "num_blocks", 1, 2**20)
        checks.whole(self, "max_num_seqs", 1, 4096)
        checks.whole(self, "max_num_batched_tokens", 1, 10**6)
        self._check_gpus()
        self._check_timing()
        checks.kind(self, "trace_path", str)
        file = (self.trace == "file") == bool(self.trace_path)
        checks.require(self, "trace_path", file, "a file for trace='file', and only then")
        checks.interval(self, "load", 0.01, 10.0)
        known = isinstance(self.traffic, tuple) and len(self.traffic) > 0
        known = known and all(isinstance(x, str) and x in SETTINGS for x in self.traffic)
        checks.require(self, "traffic", known, f"a tuple of at least one of {tuple(SETTINGS)}")
        checks.numbers(self, "sustainable_per_s", 0.001, 1e5)
        paired = len(self.sustainable_per_s) == len(self.traffic)
        checks.require(self, "sustainable_per_s", paired, "one number for each kind of traffic")
        one = self.trace != "file" or len(self.traffic) == 1
        checks.require(self, "traffic", one, "one kind for trace='file', which has its own")
        long = self.phase_s == 0 or checks.is_number(self.phase_s, 1.0, 3600.0)
        checks.require(self, "phase_s", long, "0, or a number from 1 to 3600")
        checks.number(self, "round_s", 0.0, 60.0)
        checks.number(self, "scrape_s", 0.0, 3600.0)
        checks.number(self, "change_every_s", 0.0, 1e6)
        checks.interval(self, "change_s", 0.1, 1e6)
        checks.numbers(self, "change_speeds", 0.0, 100.0)
        self._check_plans()
        checks.number(self, "episode_s", 1.0, 3600.0)
        checks.number(self, "warm_up_s", 0.0, 3600.0)
        checks.number(self, "reward_unit_s", 1e-6, 1e6)
        for name in ("e2e_weight", "ttft_weight", "failure_s", "slo_ttft_s", "slo_tpot_s"):
            checks.number(self, name, 0.0, 1e6)

    def _check_gpus(self) -> None:
        good = isinstance(self.gpus, tuple) and all(x in CHOICES["gpus"] for x in self.gpus)
        good = good and len(self.gpus) in (0, self.num_replicas)
        allowed = f"none, or for each of the {self.num_replicas} speeds one of {CHOICES['gpus']}"
        checks.require(self, "gpus", good, allowed)
        known = self.told_speeds or not self.gpus
        checks.require(self, "told_speeds", known, "True on GPUs, whose timings gateways know")

    def _check_timing(self) -> None:
        checks.kind(self, "timing_path", str)
        alone = not (self.timing_path and self.gpus)
        checks.require(self, "timing_path", alone, "none on GPUs, whose timings are known")
        if self.timing_path:
            _ = self.timing  # or it says what is wrong

    def _check_plans(self) -> None:
        for replicas, times in _PLANS:
            checks.numbers(self, times, 0.0, 3600.0, least=0)
            known = getattr(self, replicas)
            good = isinstance(known, tuple) and len(known) == len(getattr(self, times))
            good = good and all(checks.is_whole(x, 0, self.num_replicas - 1) for x in known)
            allowed = f"a replica from 0 to {self.num_replicas - 1} for each of {times}"
            checks.require(self, replicas, good, allowed)
        by_turns = "times at which each replica joins and drains by turns"
        checks.require(self, "join_s", alternate(self), by_turns)
        alone = self.change_every_s == 0 or not (self.drain or self.join)
        checks.require(self, "change_every_s", alone, "0 where replicas drain or join")

    @property
    def num_replicas(self) -> int:
        """R."""
        return len(self.speeds)

    @property
    def timing(self) -> Timing | TableTiming:
        """Of a replica of speed 1 that is on no GPU: what was measured on an engine, or a pass of
        decoding takes 5.74 ms without any context and 34 ms with 2^20 tokens of it, linearly, and
        prompts as in NVIDIA Dynamo's mock engine."""
        if self.timing_path:
            return TableTiming.read(self.timing_path)
        return Timing(per_context_ms=28.26, per_context2_ms=0.0, full_context=np.inf)

    @cached_property
    def engines(self) -> tuple[Engine, ...]:
        """Each replica's, but for its speed."""
        return hardware.engines(self)

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """How fast each is, by its GPU too."""
        return hardware.speeds(self)

    @cached_property
    def lines(self) -> hardware.Lines:
        """That gateways estimate by."""
        return hardware.lines(self)


# A load of 1 is the highest rate at which the better of kv_cost and prefix_affinity keeps the mean
# time to first token of training episodes under 1.5 s, by bisection; LARGE has 16 times MIXED's.
LONG = Config()
MIXED = replace(LONG, speeds=(2.0, 1.0, 1.0, 0.5), sustainable_per_s=(11.8,))
UNKNOWN = replace(MIXED, told_speeds=False)
GATEWAYS = replace(MIXED, num_gateways=4, scrape_s=1.0)
CHAT = replace(LONG, traffic=("chat",), sustainable_per_s=(108.0,), episode_s=30.0, warm_up_s=30.0)
TIGHT = replace(CHAT, num_blocks=2_048, sustainable_per_s=(77.0,))
SHIFTING = replace(
    MIXED,
    traffic=("long", "agents"),
    sustainable_per_s=(11.8, 18.2),
    load=(0.4, 1.1),
    phase_s=30.0,
    view="costs",
)
DEGRADED = replace(LONG, load=(0.6, 0.6), change_every_s=40.0, change_speeds=(0.25, 0.0))
LARGE = replace(
    MIXED, speeds=MIXED.speeds * 16, sustainable_per_s=(188.8,), episode_s=30.0, warm_up_s=30.0
)
# A small model on three machines, asked 3.6 to 18 times per second: the agent service's example has
# 8.2. Answers of the fastest take a third of the second at which the reward has its cap.
SOURCE = replace(
    CHAT,
    speeds=(4.0, 2.0, 1.0),
    sustainable_per_s=(178.0,),
    load=(0.02, 0.1),
    view="source",
    reward="source",
    episode_s=60.0,
)
PRESETS = {
    "long": LONG,
    "mixed": MIXED,
    "unknown": UNKNOWN,
    "gateways": GATEWAYS,
    "chat": CHAT,
    "tight": TIGHT,
    "shifting": SHIFTING,
    "degraded": DEGRADED,
    "large": LARGE,
    "source": SOURCE,
}
