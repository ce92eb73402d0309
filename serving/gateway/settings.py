"""Settings of the gateway, which its command line gives; tokens come from the environment.

`RL_TOKEN` is what callers have to show, as `Authorization: Bearer ...`; it is needed beyond
loopback, and never passed on. `REPLICA_TOKEN` is shown to replicas. `REDIS_URL`, or `REDIS_HOST`
and `REDIS_PORT`, says where the log is delivered to.
"""

from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Literal

from marlserve.envs import checks
from marlserve.envs.replica_routing.config import PRESETS, Config
from marlserve.serving.decisions.heuristics import NAMES
from marlserve.serving.decisions.modes import SHARES, Mode
from marlserve.serving.gateway.fleet import MOST_REPLICAS


@dataclass(frozen=True)
class GatewaySettings:
    """See the module.

    Attributes:
        replicas: URLs of engines, http://host:port; more may come while it runs.
        speeds: of each, that policies and heuristics are told; none: they are not.
        cache_tokens: that the cache of each holds, where it does not tell.
        heuristic: decides wherever the policy does not; see `decisions.heuristics`.
        mode: which requests are the policy's; see `decisions.modes`.
        share: of requests, for modes that have one; None: the mode's own.
        models: a folder of policy versions, see `policy_store`; None: no policy.
        problem: the preset of `envs.replica_routing` that policies were trained on, ...
        timing: ... and its `timing_path`, if it had one.
        exploration: at most so many of the policy's decisions leave what it thinks best.
        oldest_policy_s: older ones do not decide.
        log: the file of experiences, which gateways may share; None: none.
        gateway: which one of `num_gateways` this is, from 0 on.
        num_gateways: that send to the same replicas; more than one may listen at one port.
        scrape_s: between two looks at what replicas tell of themselves.
        first_byte_s: that a replica may take until its reply begins.
        idle_s: that it may take between two parts of a reply.
        retry_share: retries are at most so many for each request, in the long run.
        most_mib: of a request's body.
        drain_s: that requests under way have to end after SIGTERM.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    replicas: tuple[str, ...] = ()
    speeds: tuple[float, ...] = ()
    cache_tokens: float = 2.0**20
    heuristic: Literal[*NAMES] = "least_requests"  # type: ignore[valid-type]
    mode: Literal[*SHARES] = "policy"  # type: ignore[valid-type]
    share: float | None = None
    models: Path | None = None
    problem: Literal[*PRESETS] = "long"  # type: ignore[valid-type]
    timing: Path | None = None
    exploration: float = 0.0
    oldest_policy_s: float = inf
    log: Path | None = None
    gateway: int = 0
    num_gateways: int = 1
    scrape_s: float = 1.0
    first_byte_s: float = 300.0
    idle_s: float = 60.0
    retry_share: float = 0.2
    most_mib: float = 16.0
    drain_s: int = 60

    def __post_init__(self) -> None:
        checks.tuples(self, "replicas", "speeds")
        one_each = len(self.speeds) in (0, len(self.replicas))
        checks.require(self, "speeds", one_each, "one number for each replica, or none")
        if self.speeds:
            checks.numbers(self, "speeds", 0.01, 100.0, most=MOST_REPLICAS)
        checks.number(self, "cache_tokens", 1.0, 1e12)
        checks.choice(self, "heuristic", NAMES)
        Mode(self.mode, self.share)  # which checks both
        checks.choice(self, "problem", PRESETS)
        _ = self.config  # or it says what is wrong with the timing
        checks.number(self, "exploration", 0.0, 1.0)
        checks.number(self, "oldest_policy_s", 0.0, inf)
        checks.whole(self, "num_gateways", 1, 256)
        checks.whole(self, "gateway", 0, self.num_gateways - 1)
        checks.number(self, "scrape_s", 0.01, 3600.0)
        checks.number(self, "first_byte_s", 0.01, 86_400.0)
        checks.number(self, "idle_s", 0.01, 86_400.0)
        checks.number(self, "retry_share", 0.0, 10.0)
        checks.number(self, "most_mib", 0.001, 1024.0)
        checks.whole(self, "drain_s", 0, 86_400)

    @property
    def config(self) -> Config:
        """What policies were trained with."""
        return replace(PRESETS[self.problem], timing_path=str(self.timing or ""))

    @property
    def most_bytes(self) -> int:
        """Of a body."""
        return int(self.most_mib * 2**20)


@dataclass(frozen=True)
class Tokens:
    """See the module; none by default."""

    callers: str = field(default="", repr=False)
    replicas: str = field(default="", repr=False)
