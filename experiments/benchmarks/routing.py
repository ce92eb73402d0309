"""The routing problem: a side of `benchmark.py`.

Requests are conversations calibrated to Azure's of 2023 (the setting "chat"), at a load at which
eight replicas of speed 1 have some ten requests each, sent in turn; or long contexts. A decision is
a request: what gateways know and the observations are part of it, and drawing episodes is, too.
"""

from functools import partial

import numpy as np

from marlserve.envs.replica_routing import Config, Problem
from marlserve.experiments.benchmarks.work import Side, timed

COPIES, REPLICAS, STEPS = 32, 8, 500


def problem(setting: str, requests_per_s: float) -> Side:
    """A side: steps of all copies through the array interface."""
    config = Config(
        speeds=(1.0,) * REPLICAS,
        traffic=(setting,),
        load=(1.0, 1.0),
        sustainable_per_s=(requests_per_s,),
        warm_up_s=10.0,
    )
    batch = Problem(config, COPIES)
    batch.reset(range(COPIES))

    def play() -> int:
        for step in range(STEPS):
            chosen = np.full((COPIES, 1), step % REPLICAS)
            *_, truncated = batch.step(chosen)
            if truncated.any():
                batch.reset(copies=np.flatnonzero(truncated))
        return STEPS * COPIES

    return timed(play)


ROUTING = {
    "chat, 32 copies": partial(problem, "chat", 40.0),
    "long contexts, 32 copies": partial(problem, "long", 16.0),
}
