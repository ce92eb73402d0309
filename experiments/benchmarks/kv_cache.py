"""The KV-cache problem and PPO on it: sides of `benchmark.py`.

All at the load of the Azure trace of code of 2023, 2.56 requests per second on 200 servers, under
random actions: synthetic demand is scaled to that. PPO trains with the settings of
`kv_cache_settings`, in one process.
"""

import random
import time
from dataclasses import replace
from functools import partial

import numpy as np

from marlserve.envs.kv_cache import SYNTHETIC, Config, Problem, demand
from marlserve.experiments.benchmarks.learning import training
from marlserve.experiments.benchmarks.reference_pool import TICKS_PER_S, Pool

REQUESTS_PER_S = 2.56
# Steps per CPU second that github.com/cybsbbb/LLM_energy_optimization_rl was measured to do, with
# its own environment and Stable-Baselines3 (medians of the ranges 567-660 and 273-426).
SOURCE_ENVIRONMENT = {"source system, environment": 613.5}
SOURCE_TRAINING = {"source system, PPO": 349.5}
PLAIN = "plain Python in ticks of 50 ms"


def config() -> Config:
    """Synthetic days at this load."""
    requests = demand.invocations("", SYNTHETIC.weeks, SYNTHETIC.data_seed)
    rate_per_s = requests["count"].mean() / (requests.time_s[1] - requests.time_s[0])
    return replace(SYNTHETIC, request_scale=REQUESTS_PER_S / rate_per_s)


def problem(copies: int, steps: int):
    """A side: `steps` steps of this many copies through the array interface."""
    batch, rng = Problem(config(), copies), np.random.default_rng(0)
    batch.reset(list(range(copies)))

    def play() -> tuple[int, float]:
        actions = rng.integers(batch.action_space.n, size=(steps, copies, 1))
        start_s = time.process_time()
        for action in actions:
            *_, truncated = batch.step(action)
            if truncated.any():
                batch.reset(copies=np.flatnonzero(truncated))
        return steps * copies, time.process_time() - start_s

    return play


def ticks(steps: int = 200):
    """A side."""
    settings, rng = config(), random.Random(0)
    profile = demand.profile(settings.profile_path, settings.data_seed)
    columns = (profile.service_s, profile.energy_j, profile.score)
    pool = Pool(
        settings.num_servers,
        *(column.tolist() for column in columns),
        max_waiting=5 * settings.num_servers,
        timeout_s=settings.timeout_s,
        pue=settings.pue,
    )
    count, num_prompts = profile.service_s.shape
    per_step = round(settings.step_s * TICKS_PER_S)

    def play() -> tuple[int, float]:
        start_s = time.process_time()
        for _ in range(steps):
            prompts = (
                rng.randrange(num_prompts) if rng.random() < REQUESTS_PER_S / TICKS_PER_S else None
                for _ in range(per_step)
            )
            pool.step(rng.randrange(count), 50.0, prompts)
        return steps, time.process_time() - start_s

    return play


def ppo():
    """A side: sampling and updates of PPO. It starts Ray."""
    from marlserve.experiments.studies.kv_cache.settings import study

    experiment = study().experiment("synthetic", "ppo", problem=config())
    return training(experiment.config())


ENVIRONMENT = {
    "64 copies": partial(problem, 64, 100),
    "1 copy": partial(problem, 1, 2_000),
    PLAIN: ticks,
}
TRAINING = {"PPO": ppo}
