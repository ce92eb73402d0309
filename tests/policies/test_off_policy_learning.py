"""DQN, SAC and TD3 learn the identity in every space they play."""

import pytest
from learning import learned

from marlserve import policies
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def identity(algorithm, space):
    return (
        policies.config(algorithm, hidden_sizes=[64], learning_starts=500, lr=3e-3)
        .environment(
            PettingZooEnv, env_config={"maker": "toys:Identity", "kwargs": {"space": space}}
        )
        .debugging(seed=0)
    )


@pytest.mark.parametrize(
    ("algorithm", "space", "least"),
    [
        ("dqn", "discrete", 0.99),
        ("sac", "discrete", 0.99),
        ("sac", "box", 0.9),
        ("td3", "box", 0.9),
    ],
)
def test_identity(algorithm, space, least):
    """One step; 1 for the action that is seen. By chance 1/3, and about -1 in the box."""
    assert learned(identity(algorithm, space), 2_500, least, 300) > least
