"""B copies of the routing problem. The package's docstring is its manual."""

from collections.abc import Callable

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs import base
from marlserve.envs.replica_routing import picture, source, traffic
from marlserve.envs.replica_routing.changes import changes
from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured, features, observe, some_or_all
from marlserve.envs.replica_routing.predictor import Outcomes
from marlserve.envs.replica_routing.rewards import REWARDS
from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.fairness import jain_index
from marlserve.envs.sims.gateways import CHANGE, Gateways
from marlserve.traces.llm_requests import LLMRequests


class Problem(base.Problem):
    """See `marlserve.envs.replica_routing`."""

    name = "replica_routing"

    def __init__(self, config: Config, num_envs: int = 1):
        super().__init__(config, num_envs)
        g, r = config.num_gateways, config.num_replicas
        self.agents = tuple(f"gateway_{i}" for i in range(g))
        ten = config.view == "source"
        shape = (len(features(config)),) if ten else (r, len(features(config)))
        self.observation_space = Box(0.0, 1.0, shape, np.float32)
        self.action_space = Discrete(r)
        self.state_space = Box(0.0, 1.0, (r * 5 + 2,), np.float32)
        self.speeds = np.tile(np.asarray(config.rates, float), (num_envs, 1))  # [B, R]
        self._num_blocks = np.array([one.num_blocks for one in config.engines])  # [R]
        recorded = traffic.recordings(config)
        self.gateways = Gateways(
            *(num_envs, g, config.engines),
            round_s=config.round_s,
            scrape_s=config.scrape_s,
            slo_s=(config.slo_ttft_s, config.slo_tpot_s),
            chain_tokens=recorded[0].block_tokens,
            max_tokens=max(one.max_tokens for one in recorded),
        )
        self.step_cost_s = np.zeros(num_envs)
        self.source_reward = np.zeros((num_envs, g))
        self._cost_s = np.zeros(num_envs)
        self._present = np.full((num_envs, g), -1)
        self._windows = np.zeros(num_envs, np.int64)
        self.requests: list[LLMRequests] = [recorded[0]] * num_envs  # of each copy's episode
        self.changes = [np.zeros(0, CHANGE)] * num_envs  # of its replicas, by time

    def _start(self, copies: np.ndarray) -> None:
        config = self.config
        for copy in copies:
            rng = self.generators[copy]
            requests, self._windows[copy] = traffic.episode(config, rng)
            self.requests[copy] = requests
            if not config.told_speeds:  # nor is any replica known by its place
                self.speeds[copy] = rng.permutation(config.rates)
            speeds = self.speeds[copy]
            sessions, session = np.unique(requests["session"], return_inverse=True)
            gateway = rng.integers(config.num_gateways, size=len(sessions))[session]
            alone = requests["session"] < 0
            gateway[alone] = rng.integers(config.num_gateways, size=int(alone.sum()))
            self.changes[copy] = changes(config, speeds, rng)
            self.gateways.reset(
                copy,
                requests.time_s,
                gateway,
                (
                    requests["prompt_tokens"],
                    requests["output_tokens"],
                    requests.block_starts,
                    requests.chain_nodes,
                ),
                warm_s=config.warm_up_s,
                end_s=config.warm_up_s + config.episode_s,
                rates=speeds if config.told_speeds else np.ones_like(speeds),
                session=np.where(alone, -1, session),
                expected_output=requests["output_tokens"] if config.told_output else None,
                slowness=1.0 / speeds,
                changes=self.changes[copy],
            )
        self._present = self.gateways.present()
        self._cost_s[copies] = self._cost_so_far_s()[copies]

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.config.reward == "source":
            self.source_reward = source.foreseen(self.gateways, actions)
        self.gateways.step(actions)
        self._present = self.gateways.present()
        if self.config.reward == "latency":
            now_s = self._cost_so_far_s()
            self.step_cost_s, self._cost_s = now_s - self._cost_s, now_s
        rewards = REWARDS[self.config.reward](self).astype(np.float32)
        over = self.gateways.copies["over"] > 0
        return rewards, np.zeros(self.num_envs, bool), over

    def _cost_so_far_s(self) -> np.ndarray:
        """Weighted seconds until their first and last tokens, of all requests so far, [B]."""
        config, requests = self.config, self.gateways.replicas.requests
        now_ns = np.where(
            self.gateways.copies["over"] > 0,
            np.iinfo(np.int64).max,
            self.gateways.copies["clock_ns"],
        )[:, None]
        came = (requests["status"] > 0) & (requests["arrival_ns"] <= now_ns)
        last_ns = np.where(requests["last_token_ns"] >= 0, requests["last_token_ns"], now_ns)
        total_s = np.zeros(self.num_envs)
        for ends_ns, weight in (
            (_first_ns(requests, last_ns), config.ttft_weight),
            (last_ns, config.e2e_weight),
        ):
            spent_ns = np.where(came, np.minimum(ends_ns, now_ns) - requests["arrival_ns"], 0)
            total_s += weight * spent_ns.sum(axis=1) / 1e9
        failed = np.isin(requests["status"], (has.REJECTED, has.FAILED)).sum(axis=1)
        return total_s + config.failure_s * failed

    def measured(self) -> Measured:
        """What each gateway measures, [B, G, ...], in arrays that later steps do not change."""
        gateways, config = self.gateways, self.config
        b, g, r = gateways.shape
        there = self._present >= 0
        at = (np.arange(b)[:, None], self._present)

        def of_request(values: np.ndarray) -> np.ndarray:
            return np.where(there, values[at], 0)

        age_s = (gateways.copies["clock_ns"] - gateways.copies["scraped_ns"]) / 1e9
        scraped = {
            name: np.broadcast_to(gateways.scraped[name][:, None], (b, g, r)).copy()
            for name in ("running", "waiting", "kv_usage")
        }
        own = (
            *("requests", "unanswered", "prompt_tokens", "generated_tokens", "new_tokens"),
            *("ttft_s", "tpot_s"),
        )
        speed = self.speeds if config.told_speeds else np.zeros((b, r))
        return Measured(
            **{name: gateways.pairs[name].copy() for name in own},
            **scraped,
            up=self._takes().astype(float),
            scrape_age_s=np.broadcast_to(age_s[:, None], (b, g)),
            speed=np.broadcast_to(speed[:, None], (b, g, r)),
            matched_tokens=np.where(there[..., None], gateways.matched, 0),
            home=gateways.homes(self._present),
            request_prompt_tokens=of_request(gateways.replicas.requests["prompt_tokens"]),
            request_output_tokens=of_request(gateways.asked["expected_output"]),
            gateway=np.broadcast_to(np.arange(g), (b, g)),
        )

    def outcomes(self) -> Outcomes:
        """What gateways have measured of the requests that they sent."""
        requests = self.gateways.replicas.requests
        ended = requests["status"] == has.COMPLETED
        last_ns = np.where(ended, requests["last_token_ns"], -1)
        first_ns = _first_ns(requests, last_ns)
        further = np.where(ended, requests["output_tokens"] - 1, 0)
        ttft_s = np.where(first_ns >= 0, (first_ns - requests["arrival_ns"]) / 1e9, np.nan)
        tpot_s = (last_ns - first_ns) / 1e9 / np.where(further > 0, further, np.nan)
        return Outcomes(self._present.copy(), requests["replica"].copy(), ttft_s, tpot_s)

    def observations(self) -> np.ndarray:
        if self.config.view == "source":
            seen = source.encoded(source.states(self.gateways))
            return np.repeat(seen[:, None], self.config.num_gateways, axis=1)
        return observe(self.measured(), self.config)

    def action_masks(self) -> np.ndarray:
        """Those that were up when they were scraped and whose cache holds the prompt, or all if
        there is none: [B, G, 1, R]."""
        return some_or_all(self._takes())[:, :, None]

    def _takes(self) -> np.ndarray:
        """Whether replicas take each gateway's present request, as far as it knows, [B, G, R]."""
        prompt = self.gateways.replicas.requests["prompt_tokens"]
        tokens = np.where(self._present >= 0, np.take_along_axis(prompt, self._present, 1), 0)
        fits = tokens[..., None] <= self._num_blocks * self.config.block_tokens
        return fits & (self.gateways.scraped["up"] > 0)[:, None]

    def state(self) -> np.ndarray:
        """Of every replica its requests that run and that wait, its share of blocks in use, whether
        it takes requests, and its speed now over the fastest one's; then the round's requests per
        gateway, and the share of the episode that is over. Requests n are shown as n / (n + 8)."""
        gateways = self.gateways
        replicas, clock_s = gateways.replicas.replicas, gateways.copies["clock_ns"] / 1e9
        gateways.replicas.settle()
        free = replicas["num_free"] + replicas["num_idle"]
        speed = 1.0 / replicas["slowness"] / (max(self.config.rates) * self._fastest())
        columns = (
            replicas["running"] / (replicas["running"] + 8.0),
            replicas["waiting"] / (replicas["waiting"] + 8.0),
            1.0 - free / self._num_blocks,
            (replicas["down"] == 0) & (replicas["draining"] == 0),
            speed,
        )
        length_s = self.config.warm_up_s + self.config.episode_s
        rest = (gateways.copies["count"] / self.config.num_gateways, clock_s / length_s)
        by_replica = np.stack(columns, axis=-1).reshape(self.num_envs, -1)
        return np.concatenate((by_replica, np.stack(rest, axis=-1)), axis=1).astype(np.float32)

    def _fastest(self) -> float:
        """The most that a change multiplies a speed by."""
        return max(1.0, *self.config.change_speeds) if self.config.change_every_s else 1.0

    def windows(self) -> np.ndarray:
        return self._windows.copy()

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the requests that came after the warm-up: how many completed, and failed; their times
        in seconds to the first token and to the last, and per output token after the first; the
        share that both limits held for; the share of prompt tokens that were cached as they were
        admitted first; how often one was preempted; and Jain's index of the replicas' tokens over
        their speeds. Of what ends without a token, the end is the first token. With the reward
        "source" also the mean of it, by what became of the requests."""
        requests = self.gateways.replicas.requests
        found: dict[str, list] = {}
        for b in range(self.num_envs):
            of_copy = self._metrics(requests[b], self.gateways.copies[b], self.speeds[b])
            for name, value in of_copy.items():
                found.setdefault(name, []).append(value)
        return {name: np.array(values, float) for name, values in found.items()}

    def _metrics(self, requests: np.ndarray, copy: np.void, speeds: np.ndarray) -> dict[str, float]:
        mine = (requests["status"] > 0) & (requests["arrival_ns"] >= copy["warm_ns"])
        done = requests[mine & (requests["status"] == has.COMPLETED)]
        ttft_s = (_first_ns(done, done["last_token_ns"]) - done["arrival_ns"]) / 1e9
        e2e_s = (done["last_token_ns"] - done["arrival_ns"]) / 1e9
        tpot_s = (e2e_s - ttft_s) / np.maximum(done["output_tokens"] - 1, 1)
        good = (ttft_s <= self.config.slo_ttft_s) & (tpot_s <= self.config.slo_tpot_s)
        tokens = np.bincount(
            done["replica"],
            done["prompt_tokens"] + done["output_tokens"],
            minlength=self.config.num_replicas,
        )
        lost = np.isin(requests["status"], (has.REJECTED, has.FAILED))
        return {
            "completed": float(len(done)),
            "failed": float((mine & lost).sum()),
            **_percentiles("ttft", ttft_s),
            "mean_tpot_s": _mean(tpot_s),
            **_percentiles("e2e", e2e_s),
            "goodput": good.sum() / max(mine.sum(), 1),
            "prefix_hit_share": done["hit_tokens"].sum() / max(done["prompt_tokens"].sum(), 1),
            "preemptions": float(np.maximum(done["admissions"] - 1, 0).sum()),
            "jain_index": float(jain_index(tokens / speeds)),
            **self._source_metrics(requests, copy),
        }

    def _source_metrics(self, requests: np.ndarray, copy: np.void) -> dict[str, float]:
        if self.config.reward != "source":
            return {}
        mean = source.mean_reward(requests, copy["warm_ns"], self.config.num_replicas)
        return {"mean_source_reward": mean}

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draws: dict[str, Callable[..., str | np.ndarray]] = {
            "ansi": picture.text,
            "rgb_array": picture.pixels,
        }
        self.gateways.replicas.settle()
        return draws[mode](
            *(self.gateways.replicas.replicas[copy], self.gateways.copies[copy]),
            self._num_blocks,
        )


def _percentiles(name: str, values_s: np.ndarray) -> dict[str, float]:
    found = np.percentile(values_s, (50, 90, 95, 99)) if len(values_s) else np.zeros(4)
    by_name = {f"p{q}_{name}_s": float(x) for q, x in zip((50, 90, 95, 99), found, strict=True)}
    return {f"mean_{name}_s": _mean(values_s), **by_name}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _first_ns(requests: np.ndarray, last_ns: np.ndarray) -> np.ndarray:
    """When the first token came; of those that end without one, when they ended."""
    return np.where(requests["first_token_ns"] >= 0, requests["first_token_ns"], last_ns)
