"""Every algorithm learns with the settings that it ships with, on tasks that nobody here wrote.

The bounds leave a margin below what seeds 0, 1 and 2 reach; docs/learning.md has the curves.
"""

import pytest

from marlserve.experiments.benchmarks.learning_curves import curve

# MPE2's simple_spread: three agents, 25 steps, the return summed over the agents; EPyMARL's QMIX
# has -65 after 25,000 steps, random actions about -80, and constant ones less than -100.
SPREAD = "simple_spread"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "algorithm", "env_steps", "least"),
    [
        (SPREAD, "qmix", 25_000, -70.0),
    ],
)
def test_default_settings_learn(task, algorithm, env_steps, least, ray_session):
    *_, last = curve(task, algorithm, seed=0, env_steps=env_steps, scores=1)
    assert last.env_steps <= env_steps
    assert last.score > least
