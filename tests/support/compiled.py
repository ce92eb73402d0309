"""Compiles what the named problems run, or decisions, so that tests find it in numba's cache.

Without it each process of a first test run would compile the same, at the same time.
"""

import sys

import numpy as np
from playing import sampled

from marlserve import envs
from marlserve.serving.decisions.player import warm_up

for name in sys.argv[1:]:
    if name == "decisions":
        warm_up()
        continue
    problem = envs.make_batch(name)
    problem.reset([0])
    problem.step(sampled(problem, np.random.default_rng(0)))
    problem.metrics()
