"""What one balancer saw, as the observation that its policy was trained on.

sight = Sight(config, balancer=0)
sight.add(seen)                       # once a step
observation = sight.observation(weights)      # [M, F]; weights: in force until now, [M]
"""

import numpy as np

from marlserve.envs.load_balance.config import Config
from marlserve.envs.load_balance.memory import Log, Memory
from marlserve.envs.load_balance.observation import Measured, observe
from marlserve.envs.sims.cluster_arrays import LOG
from marlserve.serving.controller.data_plane import Flow, Seen

_ALONE = np.zeros(1, np.int64)  # the one copy


class Sight:
    """Of M servers.

    Args:
        balancer: which of the K balancers it is.
        seed: decides which samples are kept, as in the simulator.
    """

    def __init__(self, config: Config, balancer: int, seed: int = 0):
        self.config, self._balancer = config, np.array(balancer)
        self._memory = Memory(config, 1, config.num_servers)
        self._memory.reset(0, seed)
        self.ongoing = np.zeros(config.num_servers, np.int64)
        self._begin_s: float | None = None  # of the memory's clock, which is fine near 0
        self._now_s = 0.0

    def add(self, seen: Seen) -> None:
        """One look more."""
        if self._begin_s is None:
            self._begin_s = seen.now_s
        self._now_s = seen.now_s - self._begin_s
        self.ongoing = np.bincount(
            [flow.server for flow in seen.ongoing], minlength=self.config.num_servers
        )
        self._memory.add(_ALONE, self._log(seen.completed), self._log(seen.ongoing))

    def observation(self, weights: np.ndarray) -> np.ndarray:
        """What the policy reads now, [M, F] float32."""
        ((fct_s, duration_s),) = self._memory.statistics(np.array([self._now_s]))
        measured = Measured(
            ongoing_flows=self.ongoing,
            completed_per_s=self._memory.completed_per_s[0],
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
        log["value_s"] = [flow.duration_s for flow in flows]
        ended_s = np.array([flow.began_s + flow.duration_s for flow in flows])
        log["time_s"] = ended_s - self._begin_s if flows else 0.0
        return np.array([len(flows)]), log


def warm_up() -> None:
    """Compile what a `Sight` runs, which takes some seconds once per machine."""
    sight, flows = Sight(Config(), 0), [Flow(0, 0.0, 1.0)]
    sight.add(Seen(flows, [], flows, 2.0))
    sight.observation(np.ones(sight.config.num_servers))
