"""Every algorithm learns with the settings that it ships with, on tasks that nobody here wrote: it
reaches a score within so many steps.

The bounds leave a margin below what the seeds of docs/learning.md reach. On MPE2's simple_spread
random actions earn about -80, constant ones less than -100, all agents together, and EPyMARL's QMIX
-65 after 25,000 steps.
"""

from contextlib import closing

import pytest

from marlserve.experiments.benchmarks.learning_curves import curve


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "algorithm", "env_steps", "least"),
    [
        ("simple_spread", "qmix", 25_000, -74.0),
        ("simple_spread", "vdn", 25_000, -76.0),
        ("simple_spread", "sac", 10_000, -70.0),
        ("CartPole-v1", "ppo", 50_000, 400.0),
        ("CartPole-v1", "a2c", 100_000, 400.0),
        ("CartPole-v1", "dqn", 50_000, 300.0),
        ("Pendulum-v1", "sac", 8_000, -250.0),
        ("Pendulum-v1", "td3", 8_000, -300.0),
    ],
)
def test_default_settings_learn(task, algorithm, env_steps, least):
    with closing(curve(task, algorithm, seed=0, env_steps=env_steps, scores=20)) as scores:
        assert next(scores).score < least  # of the first weights
        assert any(row.score > least for row in scores)
