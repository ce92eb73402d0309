"""What one balancer saw, as the observation that its policy was trained on.

sight = Sight(config, balancer=0)
sight.add(seen)                       # once a step
observation = sight.observation(weights)      # [M, F]; weights: in force until now, [M]
"""

import numpy as np

from marlserve.envs import checks
from marlserve.envs.load_balance.config import Config
from marlserve.envs.load_balance.memory import Log, Memory, updated_rate
from marlserve.envs.load_balance.observation import Measured, observe
from marlserve.envs.sims.cluster_arrays import LOG
from marlserve.envs.sims.reservoir import FEATURES
from marlserve.serving.controller.data_plane import Flow, Seen, Summary

_ALONE = np.zeros(1, np.int64)  # the one copy


class Sight:
    """Of M servers.

    Args:
        balancer: which of the K balancers it is.
        seed: decides which samples are kept, as in the simulator.
        slow_motion: seconds that pass for one of the problem's, in a testbed that is slower.

    Attributes:
        ongoing: flows in progress, [M].
    """

    def __init__(self, config: Config, balancer: int, seed: int = 0, slow_motion: float = 1.0):
        self.config, self._balancer, self.slow_motion = config, np.array(balancer), slow_motion
        checks.number(self, "slow_motion", 1.0, 1000.0)
        self._memory = Memory(config, 1, config.num_servers)
        self._memory.reset(0, seed)
        self.ongoing = np.zeros(config.num_servers, np.int64)
        self._completed_per_s = np.zeros(config.num_servers)
        self._statistics_s = np.zeros((2, config.num_servers, len(FEATURES)))
        self._begin_s: float | None = None  # of the memory's clock, which is fine near 0

    @property
    def step_s(self) -> float:
        """Between two looks."""
        return self.config.step_s * self.slow_motion

    def add(self, seen: Seen | Summary) -> None:
        """One look more."""
        if isinstance(seen, Summary):
            self.ongoing = seen.ongoing
            self._statistics_s = seen.statistics_s / self.slow_motion
            step_s = self.config.step_s
            self._completed_per_s = updated_rate(self._completed_per_s, seen.completed, step_s)
            return
        if self._begin_s is None:
            self._begin_s = seen.now_s
        places = [flow.server for flow in seen.ongoing]
        self.ongoing = np.bincount(places, minlength=self.config.num_servers)
        self._memory.add(_ALONE, self._log(seen.completed), self._log(seen.ongoing))
        (self._completed_per_s,) = self._memory.completed_per_s
        now_s = (seen.now_s - self._begin_s) / self.slow_motion
        (self._statistics_s,) = self._memory.statistics(np.array([now_s]))

    def observation(self, weights: np.ndarray) -> np.ndarray:
        """What the policy reads now, [M, F] float32."""
        fct_s, duration_s = self._statistics_s
        measured = Measured(
            ongoing_flows=self.ongoing,
            completed_per_s=self._completed_per_s,
            fct_s=fct_s,
            duration_s=duration_s,
            last_weight=weights,
            balancer=self._balancer,
            probed_jobs=np.zeros(self.config.num_servers),  # nobody probes
        )
        return observe(measured, self.config)

    def _log(self, flows: list[Flow]) -> Log:
        log = np.zeros((1, len(flows)), LOG)
        log["pair"] = [flow.server for flow in flows]
        if flows:
            taken_s = np.array([flow.duration_s for flow in flows])
            began_s = np.array([flow.began_s for flow in flows]) - self._begin_s
            log["value_s"] = taken_s / self.slow_motion
            log["time_s"] = (began_s + taken_s) / self.slow_motion
        return np.array([len(flows)]), log


def warm_up() -> None:
    """Compile what a `Sight` runs, which takes some seconds once per machine."""
    sight, flows = Sight(Config(), 0), [Flow(0, 0.0, 1.0)]
    sight.add(Seen(flows, [], flows, 2.0))
    sight.observation(np.ones(sight.config.num_servers))
