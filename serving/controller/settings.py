"""Settings of a controller, which its command line gives."""

from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Literal

from marlserve.envs import checks
from marlserve.envs.load_balance.config import PRESETS, Config
from marlserve.serving.controller.chooser import FALLBACKS
from marlserve.serving.controller.heuristics import NAMES
from marlserve.serving.decisions.modes import Mode


@dataclass(frozen=True)
class Settings:
    """A policy sets the weights of a load balancer, step by step.

    What the policy was trained on is a preset with the changes that are given here; a policy of
    another problem is refused.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    policy: Path | None = None  # a policy file; it is read again when it changes
    backend: Literal["haproxy", "envoy", "shm"] = "haproxy"  # what balances
    balancer: int = 0  # which of the balancers of the problem this one is
    # Their names there, in the order of the problem's; Envoy: addresses, host:port.
    servers: tuple[str, ...] = ()

    preset: str = "moderate"  # the problem, as below but for what is given
    num_balancers: int | None = None
    cores: tuple[float, ...] | None = None  # of each server
    weight_levels: tuple[float, ...] | None = None
    step_s: float | None = None

    slow_motion: float = 1.0  # seconds for one of the problem's, in a testbed that is slower

    socket: Path = Path("haproxy.sock")  # HAProxy: its runtime socket
    proxy: str = "servers"  # HAProxy: the name of the backend; Envoy: of the cluster
    log_port: int = 9514  # HAProxy: where its log goes to, on loopback

    envoy_log: Path = Path("access.log")  # Envoy: its access logs
    envoy_endpoints: Path = Path("endpoints/servers.json")  # Envoy: the file that it watches
    envoy_admin: str = "127.0.0.1:9901"  # Envoy: its administration
    shm: str = "lb_rl_shm"  # shared memory: the name of the region

    mode: str = "policy"  # see serving.decisions.modes
    share: float | None = None  # of the time, the policy's; None: as is usual in the mode
    stretch_s: float = 10.0  # how long the policy or the heuristic chooses
    heuristic: str = "sed"  # what chooses where the policy does not
    fallback: str = "heuristic"  # where the policy cannot: the heuristic, or its "last" weights
    oldest_policy_s: float = inf  # since it was published

    metrics_port: int = 0  # where Prometheus asks, on loopback; 0: nobody does

    def __post_init__(self) -> None:
        checks.choice(self, "preset", PRESETS)
        checks.choice(self, "heuristic", NAMES)
        checks.choice(self, "fallback", FALLBACKS)
        checks.whole(self, "log_port", 1, 65_535)
        checks.whole(self, "metrics_port", 0, 65_535)
        config = self.config
        checks.whole(self, "balancer", 0, config.num_balancers - 1)
        names, number = self.servers, config.num_servers
        good = len(names) == len(set(names)) == number and all(name.isprintable() for name in names)
        good = good and not any(set(name) & set(" ;/\\") for name in names)
        checks.require(self, "servers", good, f"{number} different names, without ; / and spaces")
        needed = self.mode != "heuristic"
        checks.require(self, "policy", not needed or self.policy is not None, "a policy file")
        checks.number(self, "slow_motion", 1.0, 1000.0)
        Mode(self.mode, self.share)  # says what is wrong with them

    @property
    def config(self) -> Config:
        """The problem that is played.

        Raises:
            ValueError: for a bad change of the preset.
        """
        changed = {x.name for x in fields(Config)} & {x.name for x in fields(self)}
        given = {name: getattr(self, name) for name in changed}
        known = {name: value for name, value in given.items() if value is not None}
        return replace(PRESETS[self.preset], **known)
