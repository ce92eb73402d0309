"""B copies of the KV-cache problem. The package's docstring is its manual."""

from collections.abc import Callable

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs import base
from marlserve.envs.kv_cache import demand, measuring, picture, rewards
from marlserve.envs.kv_cache.config import Config
from marlserve.envs.kv_cache.observation import (
    NUMBERS,
    STATE_FEATURES,
    Measured,
    action_names,
    most_waiting,
    seen,
    site_of,
)
from marlserve.envs.sims.serving_pool import DENY, J_PER_MWH, ServingPool

_QUANTILES = (50, 95, 99)


class Problem(base.Problem):
    """See `marlserve.envs.kv_cache`.

    Attributes:
        profile: of the configurations, `traces.kv_profile.KVProfile`.
        action_names: of the actions in their order.
        pool: the simulator.
        demand: arrivals and prices.
        price: $/MWh in force, [B].
        full_score: mean quality of the least compressed configuration.

    With `record`, `pool.records` tells of single requests.
    """

    name = "kv_cache"

    def __init__(self, config: Config, num_envs: int = 1, record: bool = False):
        super().__init__(config, num_envs)
        self.profile = profile = demand.profile(config.profile_path, config.data_seed)
        self.agents = ("operator",)
        self.action_names = action_names(config)
        count = len(self.action_names)
        self.action_space = Discrete(count)
        if config.action == "continuous":
            self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = Box(-1.0, 1.0, (len(STATE_FEATURES) + count,), np.float32)
        self.state_space = self.observation_space
        self._site = site_of(config)
        self.full_score = self._site.full_score
        self.pool = ServingPool(
            *(num_envs, config.num_servers, profile.service_s, profile.energy_j, profile.score),
            max_waiting=most_waiting(config),
            timeout_s=config.timeout_s,
            idle_w=config.idle_w,
            pue=config.pue,
            cost_cap_usd=rewards.COST_CAP_USD,
            record=record,
        )
        self.demand = demand.Demand(config, num_envs, profile.service_s.shape[1])
        self._longest_s = config.timeout_s + float(profile.service_s.max())
        self._tracker = np.zeros(num_envs, measuring.TRACKER)
        self._numbers = np.zeros(num_envs, NUMBERS)
        self._observations = np.zeros((num_envs, *self.observation_space.shape), np.float32)
        self.last_actions = np.full(num_envs, -1)  # actions; none at first
        self._taken = np.zeros((num_envs, count), np.int64)
        self._source_reward = np.zeros(num_envs)  # summed
        self._steps = np.zeros(num_envs, np.int64)
        self._copies = np.arange(num_envs)
        self.price_index = np.zeros(num_envs, np.int64)
        self.price = np.zeros(num_envs)

    def _start(self, copies: np.ndarray) -> None:
        for copy in copies:
            self.demand.reset(copy, self.generators[copy])
        self.pool.reset(copies)
        for array in (self._tracker, self._taken, self._source_reward, self._steps):
            array[copies] = 0
        self.last_actions[copies] = -1
        self._look()

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        config, pool = self.config, self.pool
        self.last_actions = self.chosen(actions)
        self._taken[self._copies, self.last_actions] += 1
        served = self.last_actions
        if config.enable_deny:
            served = np.where(
                self.last_actions == len(self.action_names) - 1, DENY, self.last_actions
            )
        arrivals = self.demand.advance(pool.copies["clock_s"])
        pool.advance(config.step_s, served, self.price, arrivals)
        self._steps += 1
        measuring.track(self._tracker, pool.step, config.step_s)
        source = rewards.source(self)
        self._source_reward += source
        reward = source if config.reward == "source" else rewards.REWARDS[config.reward](self)
        over = self._steps >= config.num_steps
        self._look()
        return reward[:, None].astype(np.float32), np.zeros(self.num_envs, bool), over

    def chosen(self, actions: np.ndarray) -> np.ndarray:
        """Indices of `action_names`, [B], of actions [B, 1] or, if continuous, [B, 1, 1]."""
        if self.config.action == "discrete":
            return actions[:, 0].astype(np.int64)
        count = len(self.action_names)
        bins = np.floor((actions[:, 0, 0].astype(float) + 1.0) * count / 2.0)
        return np.minimum(bins, count - 1).astype(np.int64)

    def _look(self) -> None:
        """Read the price, and take the measurements."""
        demand, pool = self.demand, self.pool
        # After the last step there may be no later price.
        step = np.minimum(self._steps, self.config.num_steps - 1)
        self.price_index = demand.price_index(step * self.config.step_s)
        self.price = demand.usd_per_mwh[self.price_index]
        measuring.measure(
            self._numbers,
            (pool.copies, pool.step, pool.recent_latencies),
            *(self._tracker, demand.start_s),
            (self.price, demand.price_trend[self.price_index]),
            *(self.last_actions, self.config.step_s, self._longest_s),
        )
        self._observations = seen(self._numbers, self._site)

    def measured(self) -> Measured:
        """What the operators measure, [B] each, in arrays that later steps do not change."""
        return Measured(*(self._numbers[name].copy() for name in Measured._fields))

    def observations(self) -> np.ndarray:
        return self._observations[:, None].copy()

    def state(self) -> np.ndarray:
        """What the operator sees: there is one agent, and it sees the whole system."""
        return self._observations.copy()

    def costs(self) -> np.ndarray | None:
        """Requests that were not served beyond what `service_floor` allows, [B, 1]."""
        if not self.config.service_floor:
            return None
        return rewards.unserved_beyond_floor(self, self.pool.step)[:, None]

    def windows(self) -> np.ndarray:
        """When each copy's episode begins, in seconds since the epoch."""
        return self.demand.start_s.copy()

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the episode so far. Rates are shares of the requests that arrived; waits are those of
        requests that began or gave up, latencies those of completed ones, in seconds. Energy is
        what the servers drew, energy cost includes the PUE. `mean_source_reward` is the mean of
        the reward "source" over steps, whatever was learned from."""
        total, config = self.pool.total, self.config
        arrived = np.maximum(total["arrived"], 1.0)
        completed = np.maximum(total["completed"], 1.0)
        energy_j = total["request_j"] + total["idle_j"]
        seconds = np.maximum(self._steps, 1) * config.step_s
        shares = self._taken / np.maximum(self._steps, 1)[:, None]
        return {
            "arrived": total["arrived"].copy(),
            "completed": total["completed"].copy(),
            "unserved_beyond_floor": rewards.unserved_beyond_floor(self, total),
            "success_rate": total["completed"] / arrived,
            "denial_rate": total["denied"] / arrived,
            "timeout_rate": total["timed_out"] / arrived,
            "failure_rate": total["failed"] / arrived,
            "mean_wait_s": total["wait_s"] / np.maximum(total["waits"], 1.0),
            **{f"p{q}_wait_s": self.pool.wait_percentile(q) for q in _QUANTILES},
            "mean_latency_s": total["latency_s"] / completed,
            **{f"p{q}_latency_s": self.pool.latency_percentile(q) for q in _QUANTILES},
            "mean_score": total["score"] / completed,
            "energy_j": energy_j,
            "energy_mwh": energy_j / J_PER_MWH,
            "energy_cost_usd": total["cost_usd"].copy(),
            "revenue_usd": rewards.revenue_usd(self, total),
            "penalties_usd": rewards.penalties_usd(self, total),
            "profit_usd": rewards.profit_usd(self, total),
            "profit_usd_per_day": rewards.profit_usd(self, total) * 86_400.0 / seconds,
            "mean_source_reward": self._source_reward / np.maximum(self._steps, 1),
            "utilisation": total["busy_s"] / config.num_servers / seconds,
            "share_deny": np.zeros(self.num_envs),  # unless it is among the actions
            **{f"share_{name}": shares[:, i] for i, name in enumerate(self.action_names)},
        }

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draws: dict[str, Callable[..., str | np.ndarray]] = {
            "ansi": picture.text,
            "rgb_array": picture.pixels,
        }
        return draws[mode](self, copy)
