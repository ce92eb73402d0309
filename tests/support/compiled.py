"""Compiles what the named problems run, so that tests find it in numba's cache.

Without it each process of a first test run would compile the same, at the same time.
"""

import sys

import numpy as np
from playing import sampled

from marlserve import envs

for name in sys.argv[1:]:
    problem = envs.make_batch(name)
    problem.reset([0])
    problem.step(sampled(problem, np.random.default_rng(0)))
    problem.metrics()
